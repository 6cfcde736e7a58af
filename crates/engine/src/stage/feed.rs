//! Where a stage's batches come from: images through the frozen layers, or their features from the store.
//!
//! The two give the same bytes.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::features::Features;
use super::frozen::{Frozen, INFERENCE_BATCH, in_order};
use super::lost;
use super::prefix::made_of;
use super::teacher::Teacher;
use super::{Context, Evaluate, Member, Prefix, Subject, Train, View};
use crate::data::{CacheBudget, Dataset, Epoch, Images, Mixer, Split, Transform, shuffled};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::features::FeatureStore;
use crate::model::{Model, State};
use crate::pipeline::Augment;
use crate::task::{Annotated, Task, with_targets};
use crate::train::{Batches, Feed};

/// What a stage makes batches of.
pub(super) struct Material<'a> {
    subject: &'a Subject,
    view: &'a View,
    prefix: Prefix,
    frozen: Frozen<'a>,
}

impl<'a> Material<'a> {
    /// One for each prefix of the stage.
    pub fn of_training(
        stage: &'a Train,
        dataset: &Arc<Dataset>,
        model: &'a Model,
        state: &'a State,
        context: &'a Context<'a>,
    ) -> Vec<Self> {
        let material = |prefix: &Prefix| {
            let frozen = Frozen::new(dataset, model, state, prefix, context);
            Self { subject: &stage.subject, view: &stage.view, prefix: prefix.clone(), frozen }
        };
        stage.prefixes.iter().map(material).collect()
    }

    /// What one of the models is shown.
    pub fn of_evaluation(
        stage: &'a Evaluate,
        member: usize,
        dataset: &Arc<Dataset>,
        model: &'a Model,
        state: &'a State,
        context: &'a Context<'a>,
    ) -> Self {
        let Member { subject, layers } = &stage.members[member];
        let prefix = Prefix::plain(*layers);
        let frozen = Frozen::new(dataset, model, state, &prefix, context);
        Self { subject, view: &stage.view, prefix, frozen }
    }

    fn images(&self, augment: &Augment, memory: &Arc<CacheBudget>) -> Arc<Images> {
        let transform = Transform::training(&self.view.0, None, augment);
        let (dataset, memory) = (Arc::clone(&self.frozen.dataset), Arc::clone(memory));
        Arc::new(Images::new(dataset, transform, self.view.0.broken, memory))
    }

    /// What decoded images of this stage may take, those of training and of validation together.
    fn memory(&self) -> Arc<CacheBudget> {
        Arc::new(CacheBudget::new(self.frozen.context.image_cache))
    }

    /// For images that are read once.
    fn no_memory() -> Arc<CacheBudget> {
        Arc::new(CacheBudget::new(0))
    }

    /// The store of features, where they are to be kept; else says once why not.
    fn store(&self) -> Option<&'a FeatureStore<'a>> {
        let context = self.frozen.context;
        let digested = self.frozen.dataset.samples.iter().all(|sample| sample.digest.is_some());
        let why = match (self.prefix.recomputed, context.features) {
            (None, Some(store)) if digested => return Some(store),
            (Some(why), _) => why,
            (None, _) => "`run.feature_cache` is off",
        };
        if self.prefix.layers > 0 {
            let (stage, reason) = (context.stage.to_owned(), why.to_owned());
            context.observer.event(&Event::FeaturesRecomputed { stage, reason });
        }
        None
    }

    fn features(
        &'a self,
        store: &'a FeatureStore<'a>,
        random: Option<(&Augment, u64)>,
    ) -> Result<Features<'a>> {
        let Frozen { model, state, .. } = self.frozen;
        let made_of = made_of(self.subject, &model.description, state, &self.prefix, self.view, random)?;
        let images = match random {
            // What is ahead of the random changes is the same for every view.
            Some((augment, _)) => self.images(augment, &self.memory()),
            None => self.images(&Augment::default(), &Self::no_memory()),
        };
        Features::open(&self.frozen, images, self.view.0.broken, random.map(|(_, seed)| seed), store, made_of)
    }
}

/// The batches of a train stage, from behind the layers that are frozen in their epoch.
pub(super) struct Training<'a, T: Task> {
    task: &'a T,
    /// In order, one for each prefix.
    stretches: Vec<Stretch<'a>>,
}

impl<'a, T: Task> Training<'a, T> {
    /// `materials` are those of the stage's prefixes.
    pub fn new(
        stage: &'a Train,
        task: &'a T,
        materials: &'a [Material<'a>],
        teacher: Option<&'a Teacher>,
    ) -> Result<Self> {
        let Some(first) = materials.first() else {
            return Err(Error::bug("a train stage without a prefix"));
        };
        let (dataset, memory) = (&first.frozen.dataset, first.memory());
        let source = Source {
            material: first,
            train: first.images(&stage.settings.augment, &memory),
            validation: first.images(&Augment::default(), &memory),
            mixer: Mixer::new(&stage.settings.augment, stage.seed),
            teacher,
            train_samples: dataset.split(Split::Train),
            validation_samples: dataset.split(Split::Validation),
            batch_size: stage.settings.batch_size,
            seed: stage.seed,
        };
        if source.train_samples.is_empty() {
            return Err(Error::failed("there are no training images"));
        }
        let stretch = |material| Stretch {
            source: Source { material, ..source.clone() },
            augment: &stage.settings.augment,
            kept: OnceCell::new(),
        };
        Ok(Self { task, stretches: materials.iter().map(stretch).collect() })
    }

    /// Computes what the stage will want of its features when it goes on with `epoch`: told here and now, rather than
    /// after an epoch.
    pub fn prepare(&self, epoch: u32) -> Result<()> {
        match self.stretch(epoch).kept()? {
            Some(_) => self.require_classes(&[Split::Train, Split::Validation]),
            None => Ok(()),
        }
    }

    /// Ends the stage as soon as a class is known to have no image left, rather than with its last epoch.
    fn require_classes(&self, parts: &[Split]) -> Result<()> {
        let Material { view, frozen, .. } = self.stretches[0].source.material;
        let broken = self.broken();
        lost::require_classes(view, &frozen.dataset, parts, |path| broken.contains(path))
    }

    fn stretch(&self, epoch: u32) -> &Stretch<'a> {
        let begun = |stretch: &&Stretch| stretch.source.material.prefix.after_epochs <= epoch;
        self.stretches.iter().rev().find(begun).unwrap_or(&self.stretches[0])
    }
}

impl<T: Task> Feed<T::Targets> for Training<'_, T> {
    fn batches_per_epoch(&self) -> usize {
        let source = &self.stretches[0].source;
        source.train_samples.len().div_ceil(source.batch_size)
    }

    fn train(&self, epoch: u32, start: usize) -> Result<Batches<'_, T::Targets>> {
        Ok(with_targets(self.task, self.stretch(epoch).train(epoch, start)?))
    }

    fn validation(&self, epoch: u32) -> Option<Result<Batches<'_, T::Targets>>> {
        let stretch = self.stretch(epoch);
        // All training images of the epoch were read by now.
        let checked = || {
            self.require_classes(&[Split::Train])?;
            Ok(with_targets(self.task, stretch.validation()?))
        };
        (!stretch.source.validation_samples.is_empty()).then(checked)
    }

    fn broken(&self) -> BTreeSet<String> {
        self.stretches.iter().flat_map(|stretch| stretch.source.material.frozen.broken()).collect()
    }
}

/// The epochs in which the same layers are frozen.
struct Stretch<'a> {
    source: Source<'a>,
    augment: &'a Augment,
    /// Features, where they are kept; found out when its first epoch comes.
    kept: OnceCell<Option<Kept<'a>>>,
}

impl<'a> Stretch<'a> {
    fn kept(&self) -> Result<Option<&Kept<'a>>> {
        if self.kept.get().is_none() {
            // Nobody else can have set it.
            _ = self.kept.set(self.open()?);
        }
        Ok(self.kept.get().and_then(Option::as_ref))
    }

    fn open(&self) -> Result<Option<Kept<'a>>> {
        let Source { material, train_samples, validation_samples, seed, .. } = &self.source;
        let Some(store) = material.store() else { return Ok(None) };
        let plain = material.features(store, None)?;
        let views = match material.prefix.views {
            Some(_) => Some(material.features(store, Some((self.augment, *seed)))?),
            None => None,
        };
        let mut samples = validation_samples.clone();
        if views.is_none() {
            samples = [&train_samples[..], &samples].concat();
        }
        let all = samples.is_empty() || plain.complete(&samples, 0)?;
        Ok(all.then_some(Kept { plain, views }))
    }

    fn train(&self, epoch: u32, start: usize) -> Result<Annotated<'_>> {
        let Source { material, train_samples, batch_size, seed, .. } = &self.source;
        let (features, view) = match self.kept()? {
            None => return self.source.train(epoch, start),
            Some(Kept { plain, views: None }) => (plain, 0),
            Some(Kept { views: Some(views), .. }) => {
                let view = material.prefix.view(epoch);
                if !views.complete(train_samples, view)? {
                    return self.source.train(epoch, start);
                }
                (views, view)
            }
        };
        Ok(features.batches(shuffled(train_samples, *seed, epoch), *batch_size, start, view))
    }

    fn validation(&self) -> Result<Annotated<'_>> {
        let samples = self.source.validation_samples.clone();
        match self.kept()? {
            Some(kept) => Ok(kept.plain.batches(samples, INFERENCE_BATCH, 0, 0)),
            None => self.source.validation(samples),
        }
    }
}

/// Images, decoded for every epoch, and the frozen layers run on each batch.
#[derive(Clone)]
struct Source<'a> {
    material: &'a Material<'a>,
    train: Arc<Images>,
    mixer: Option<Mixer>,
    teacher: Option<&'a Teacher>,
    validation: Arc<Images>,
    train_samples: Vec<usize>,
    validation_samples: Vec<usize>,
    batch_size: usize,
    seed: u64,
}

impl Source<'_> {
    fn train(&self, epoch: u32, start: usize) -> Result<Annotated<'_>> {
        let order = shuffled(&self.train_samples, self.seed, epoch);
        let view = self.material.prefix.view(epoch);
        let epoch =
            Epoch { order, batch_size: self.batch_size, first_batch: start, seed: self.seed, epoch: view };
        self.material.frozen.batches(&self.train, epoch, self.mixer.as_ref(), self.teacher)
    }

    fn validation(&self, samples: Vec<usize>) -> Result<Annotated<'_>> {
        self.material.frozen.batches(&self.validation, in_order(samples), None, None)
    }
}

/// Features that are kept: those of images as they are, and those of augmented views.
struct Kept<'a> {
    plain: Features<'a>,
    views: Option<Features<'a>>,
}

/// Images as an evaluation sees them: `read` is given the batches from behind the frozen layers, and how many there
/// are.
pub(super) fn evaluation<T>(
    material: &Material,
    samples: Vec<usize>,
    read: impl FnOnce(Annotated, usize) -> Result<T>,
) -> Result<T> {
    let total = samples.len().div_ceil(INFERENCE_BATCH);
    if let Some(store) = material.store() {
        let features = material.features(store, None)?;
        if features.complete(&samples, 0)? {
            return read(features.batches(samples, INFERENCE_BATCH, 0, 0), total);
        }
    }
    let images = material.images(&Augment::default(), &Material::no_memory());
    read(material.frozen.batches(&images, in_order(samples), None, None)?, total)
}
