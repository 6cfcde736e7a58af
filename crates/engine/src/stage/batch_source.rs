//! The batches of a stage: images through the frozen layers, or cached features.
//!
//! Both give the same bytes.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::class_coverage;
use super::features::FeatureBatches;
use super::frozen_backbone::{BatchChanges, FrozenBackbone, sequential_epoch};
use super::prefix::cache_identity;
use super::teacher::Teacher;
use super::{EnsembleMember, EvaluateStage, FrozenPrefix, ModelSpec, Preprocess, StageContext, TrainStage};
use crate::data::{CacheBudget, Dataset, EpochOrder, EpochSampler, Images, Split, occurrences};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::features::FeatureStore;
use crate::model::{Model, StateDict};
use crate::pipeline::Augment;
use crate::ranks::BatchShare;
use crate::task::{Annotated, Task, with_targets};
use crate::train::{BatchSource, Batches};

/// What batches are made from.
pub(super) struct BatchInputs<'a> {
    model_spec: &'a ModelSpec,
    preprocess: &'a Preprocess,
    prefix: FrozenPrefix,
    frozen: FrozenBackbone<'a>,
}

impl<'a> BatchInputs<'a> {
    /// One for each prefix of the stage.
    pub fn of_training(
        stage: &'a TrainStage,
        dataset: &Arc<Dataset>,
        model: &'a Model,
        state: &'a StateDict,
        context: &'a StageContext<'a>,
    ) -> Vec<Self> {
        let inputs = |prefix: &FrozenPrefix| {
            let frozen = FrozenBackbone::new(dataset, model, state, prefix, context);
            Self {
                model_spec: &stage.model_spec,
                preprocess: &stage.preprocess,
                prefix: prefix.clone(),
                frozen,
            }
        };
        stage.prefixes.iter().map(inputs).collect()
    }

    /// The images of one evaluated model.
    pub fn of_evaluation(
        stage: &'a EvaluateStage,
        member: usize,
        dataset: &Arc<Dataset>,
        model: &'a Model,
        state: &'a StateDict,
        context: &'a StageContext<'a>,
    ) -> Self {
        let EnsembleMember { model_spec, layers } = &stage.members[member];
        let prefix = FrozenPrefix::without_features(*layers);
        let frozen = FrozenBackbone::new(dataset, model, state, &prefix, context);
        Self { model_spec, preprocess: &stage.preprocess, prefix, frozen }
    }

    /// The images of a stage with this number of epochs.
    fn images(&self, augment: &Augment, epochs: u32, memory: &Arc<CacheBudget>) -> Arc<Images> {
        let (dataset, memory) = (Arc::clone(&self.frozen.dataset), Arc::clone(memory));
        Arc::new(Images::for_training(dataset, &self.preprocess.0, augment, epochs, memory))
    }

    /// The images without random changes.
    fn plain_images(&self, memory: &Arc<CacheBudget>) -> Arc<Images> {
        self.images(&Augment::default(), 0, memory)
    }

    /// The memory for decoded images of this stage, of training and validation together.
    fn memory(&self) -> Arc<CacheBudget> {
        Arc::new(CacheBudget::new(self.frozen.context.image_cache))
    }

    /// For images that are read once.
    fn no_memory() -> Arc<CacheBudget> {
        Arc::new(CacheBudget::new(0))
    }

    /// The feature cache, if features are cached; otherwise reports once why not.
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
    ) -> Result<FeatureBatches<'a>> {
        let FrozenBackbone { model, state, ref dataset, .. } = self.frozen;
        let made_of = cache_identity(
            self.model_spec,
            &model.description,
            state,
            &self.prefix,
            self.preprocess,
            dataset.label_kind,
            random,
        )?;
        let images = match random {
            // Everything before the random changes is the same for every view.
            Some((augment, _)) => self.images(augment, 0, &self.memory()),
            None => self.plain_images(&Self::no_memory()),
        };
        FeatureBatches::open(
            &self.frozen,
            images,
            self.preprocess.0.broken,
            random.map(|(_, seed)| seed),
            store,
            made_of,
        )
    }
}

/// The batches of a train stage, as outputs of the layers that are frozen in their epoch.
pub(super) struct TrainingBatches<'a, T: Task> {
    task: &'a T,
    /// In order, one for each prefix.
    phases: Vec<PhaseBatches<'a>>,
}

impl<'a, T: Task> TrainingBatches<'a, T> {
    /// `all_inputs` has one entry per prefix of the stage.
    pub fn new(
        stage: &'a TrainStage,
        task: &'a T,
        all_inputs: &'a [BatchInputs<'a>],
        teacher: Option<&'a Teacher>,
    ) -> Result<Self> {
        let Some(first) = all_inputs.first() else {
            return Err(Error::bug("a train stage without a prefix"));
        };
        let (dataset, memory) = (&first.frozen.dataset, first.memory());
        let settings = &stage.settings;
        let source = DecodedImages {
            inputs: first,
            train: first.images(&settings.augment, settings.epochs, &memory),
            validation: first.plain_images(&memory),
            changes: BatchChanges::new(&settings.augment, stage.seed, dataset.label_kind),
            teacher,
            sampler: Arc::new(EpochSampler::new(dataset, &settings.sampler, stage.seed)),
            train_samples: dataset.split(Split::Train),
            validation_samples: dataset.split(Split::Validation),
            batch_size: stage.settings.batch_size,
            views: T::VIEWS,
            seed: stage.seed,
        };
        if source.train_samples.is_empty() {
            return Err(Error::failed("there are no training images"));
        }
        let phase_batches = |inputs| PhaseBatches {
            source: DecodedImages { inputs, ..source.clone() },
            augment: &stage.settings.augment,
            cached_features: OnceCell::new(),
        };
        Ok(Self { task, phases: all_inputs.iter().map(phase_batches).collect() })
    }

    /// Computes the features that the stage needs in `epoch`, so that this is reported now instead of in the
    /// middle of an epoch.
    pub fn prepare(&self, epoch: u32) -> Result<()> {
        match self.phase_batches(epoch).cached_features()? {
            Some(_) => self.require_classes(&[Split::Train, Split::Validation]),
            None => Ok(()),
        }
    }

    /// Fails as soon as a class has no readable image, instead of in the last epoch.
    fn require_classes(&self, parts: &[Split]) -> Result<()> {
        let BatchInputs { preprocess: view, frozen, .. } = self.phases[0].source.inputs;
        let broken = self.broken();
        class_coverage::require_classes(view, &frozen.dataset, parts, |path| broken.contains(path))
    }

    fn phase_batches(&self, epoch: u32) -> &PhaseBatches<'a> {
        let begun = |phase_batches: &&PhaseBatches| phase_batches.source.inputs.prefix.after_epochs <= epoch;
        self.phases.iter().rev().find(begun).unwrap_or(&self.phases[0])
    }
}

impl<T: Task> BatchSource<T::Targets> for TrainingBatches<'_, T> {
    fn batches_per_epoch(&self) -> usize {
        let source = &self.phases[0].source;
        source.sampler.len().div_ceil(source.batch_size)
    }

    fn train(&self, epoch: u32, share: BatchShare) -> Result<Batches<'_, T::Targets>> {
        Ok(with_targets(self.task, self.phase_batches(epoch).train(epoch, share)?))
    }

    fn validation(&self, epoch: u32, share: BatchShare) -> Option<Result<Batches<'_, T::Targets>>> {
        let phase_batches = self.phase_batches(epoch);
        // All training images of the epoch have been read.
        let checked = || {
            self.require_classes(&[Split::Train])?;
            Ok(with_targets(self.task, phase_batches.validation(share)?))
        };
        (!phase_batches.source.validation_samples.is_empty()).then(checked)
    }

    fn broken(&self) -> BTreeSet<String> {
        self.phases.iter().flat_map(|phase_batches| phase_batches.source.inputs.frozen.broken()).collect()
    }

    fn add_broken(&self, names: &BTreeSet<String>) {
        self.phases[0].source.inputs.frozen.add_broken(names);
    }
}

/// The epochs in which the same layers are frozen.
struct PhaseBatches<'a> {
    source: DecodedImages<'a>,
    augment: &'a Augment,
    /// Cached features, if features are cached; opened in the first epoch that needs them.
    cached_features: OnceCell<Option<CachedFeatures<'a>>>,
}

impl<'a> PhaseBatches<'a> {
    fn cached_features(&self) -> Result<Option<&CachedFeatures<'a>>> {
        if self.cached_features.get().is_none() {
            // No other code can have set it.
            _ = self.cached_features.set(self.open()?);
        }
        Ok(self.cached_features.get().and_then(Option::as_ref))
    }

    fn open(&self) -> Result<Option<CachedFeatures<'a>>> {
        let DecodedImages { inputs, train_samples, validation_samples, seed, .. } = &self.source;
        let Some(store) = inputs.store() else { return Ok(None) };
        let plain = inputs.features(store, None)?;
        let views = match inputs.prefix.views {
            Some(_) => Some(inputs.features(store, Some((self.augment, *seed)))?),
            None => None,
        };
        let mut samples = validation_samples.clone();
        if views.is_none() {
            samples = [&train_samples[..], &samples].concat();
        }
        let all = samples.is_empty() || plain.complete(&samples, 0)?;
        Ok(all.then_some(CachedFeatures { plain, views }))
    }

    fn train(&self, epoch: u32, share: BatchShare) -> Result<Annotated<'_>> {
        let order = self.source.order(epoch, share);
        let features = match self.cached_features()? {
            None => return self.source.train(order),
            Some(CachedFeatures { plain, views: None }) => plain,
            Some(CachedFeatures { views: Some(views), .. }) => {
                let shown =
                    occurrences(&order.order).into_iter().map(|occurrence| order.kept_view(occurrence));
                for view in shown.collect::<BTreeSet<u32>>() {
                    if !views.complete(&self.source.train_samples, view)? {
                        return self.source.train(order);
                    }
                }
                views
            }
        };
        Ok(features.batches(order))
    }

    fn validation(&self, share: BatchShare) -> Result<Annotated<'_>> {
        let samples = self.source.validation_samples.clone();
        match self.cached_features()? {
            Some(cached_features) => {
                Ok(cached_features.plain.batches(EpochOrder { share, ..sequential_epoch(samples) }))
            }
            None => self.source.validation(samples, share),
        }
    }
}

/// Decodes images in every epoch, and runs the frozen layers on each batch.
#[derive(Clone)]
struct DecodedImages<'a> {
    inputs: &'a BatchInputs<'a>,
    train: Arc<Images>,
    changes: BatchChanges,
    teacher: Option<&'a Teacher>,
    validation: Arc<Images>,
    sampler: Arc<EpochSampler>,
    train_samples: Vec<usize>,
    validation_samples: Vec<usize>,
    batch_size: usize,
    /// Of each image in a batch.
    views: usize,
    seed: u64,
}

impl DecodedImages<'_> {
    /// The training images of a share of an epoch.
    fn order(&self, epoch: u32, share: BatchShare) -> EpochOrder {
        EpochOrder {
            order: self.sampler.order(epoch),
            batch_size: self.batch_size,
            views: self.views,
            share,
            seed: self.seed,
            epoch: self.inputs.prefix.view(epoch),
            kept_views: self.inputs.prefix.views,
        }
    }

    fn train(&self, order: EpochOrder) -> Result<Annotated<'_>> {
        self.inputs.frozen.batches(&self.train, order, Some(&self.changes), self.teacher)
    }

    /// Views of validation images are those of the first epoch, in batches as in training.
    fn validation(&self, samples: Vec<usize>, share: BatchShare) -> Result<Annotated<'_>> {
        let epoch = EpochOrder { share, ..sequential_epoch(samples) };
        if self.views > 1 {
            let Self { batch_size, views, seed, .. } = *self;
            let epoch = EpochOrder { batch_size, views, seed, ..epoch };
            return self.inputs.frozen.batches(&self.train, epoch, None, None);
        }
        self.inputs.frozen.batches(&self.validation, epoch, None, None)
    }
}

/// Cached features: of unchanged images, and of augmented views.
struct CachedFeatures<'a> {
    plain: FeatureBatches<'a>,
    views: Option<FeatureBatches<'a>>,
}

/// Passes a share of the batches of an evaluation, as outputs of the frozen layers, to `read`.
pub(super) fn evaluation<T>(
    inputs: &BatchInputs,
    samples: Vec<usize>,
    share: BatchShare,
    read: impl FnOnce(Annotated) -> Result<T>,
) -> Result<T> {
    if let Some(store) = inputs.store() {
        let features = inputs.features(store, None)?;
        if features.complete(&samples, 0)? {
            return read(features.batches(EpochOrder { share, ..sequential_epoch(samples) }));
        }
    }
    let images = inputs.plain_images(&BatchInputs::no_memory());
    let epoch = EpochOrder { share, ..sequential_epoch(samples) };
    read(inputs.frozen.batches(&images, epoch, None, None)?)
}
