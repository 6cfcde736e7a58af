//! Where a train stage's batches come from: images through the frozen prefix, or the prefix's features computed once.
//!
//! The two give the same bytes. A prefix runs as plain inference, in which a sample's result depends on nothing but
//! the sample, so it does not matter when or beside whom it was computed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde::Serialize;

use super::{Context, Train, View};
use crate::autograd::Value;
use crate::data::{Dataset, Epoch, Images, Loader, Memory, Split, Transform, shuffled};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::freeze::ParameterTable;
use crate::model::{Description, Model, Pass, State};
use crate::pipeline::{self, Augment};
use crate::random::name_hash;
use crate::train::{Batch, Batches, Feed};

/// Images per inference batch: a matter of memory alone.
const INFERENCE_BATCH: usize = 32;
/// Bytes that may be spent on keeping features.
const FEATURE_MEMORY: usize = 2 << 30;

/// The layers that run as plain inference because nothing in them trains, and whether they run once or every epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prefix {
    pub layers: usize,
    /// Why its features are not kept from epoch to epoch, if they are not.
    pub recomputed: Option<&'static str>,
}

impl Prefix {
    pub fn new(description: &Description, table: &ParameterTable, settings: &pipeline::Train) -> Self {
        let layers = table.frozen_prefix(description);
        let recomputed = if layers == 0 {
            Some("the first layer trains")
        } else if settings.augment != Augment::default() {
            Some("the augmentation changes the images every epoch")
        } else if settings.epochs < 2 {
            Some("there is one epoch only")
        } else {
            None
        };
        Self { layers, recomputed }
    }
}

/// The batches of a train stage, from behind its frozen prefix.
pub(super) fn feed<'a>(
    stage: &'a Train,
    dataset: &Arc<Dataset>,
    model: &'a Model,
    state: &'a State,
    context: &'a Context<'a>,
) -> Result<Box<dyn Feed + 'a>> {
    let folder = &stage.view.0;
    let memory = Arc::new(Memory::new(context.image_cache));
    let images = |augment: &Augment, memory: &Arc<Memory>| {
        let transform = Transform::training(folder, None, augment);
        Arc::new(Images::new(Arc::clone(dataset), transform, folder.broken, Arc::clone(memory)))
    };
    let source = Source {
        dataset: Arc::clone(dataset),
        model,
        state,
        layers: stage.prefix.layers,
        train: images(&stage.settings.augment, &memory),
        validation: images(&Augment::default(), &memory),
        train_samples: dataset.split(Split::Train),
        validation_samples: dataset.split(Split::Validation),
        batch_size: stage.settings.batch_size,
        seed: stage.seed,
        context,
        broken: RefCell::default(),
    };
    if source.train_samples.is_empty() {
        return Err(Error::failed("there are no training images"));
    }
    if stage.prefix.recomputed.is_none()
        && let Some(features) =
            Features::compute(&source, &images(&Augment::default(), &Arc::new(Memory::new(0))))?
    {
        return Ok(Box::new(Kept { source, features }));
    }
    Ok(Box::new(source))
}

/// Images, decoded for every epoch, and the prefix run on each batch.
struct Source<'a> {
    dataset: Arc<Dataset>,
    model: &'a Model,
    state: &'a State,
    layers: usize,
    train: Arc<Images>,
    validation: Arc<Images>,
    train_samples: Vec<usize>,
    validation_samples: Vec<usize>,
    batch_size: usize,
    seed: u64,
    context: &'a Context<'a>,
    /// Paths of images that cannot be read.
    broken: RefCell<BTreeSet<String>>,
}

impl Source<'_> {
    fn batches(&self, images: &Arc<Images>, epoch: Epoch) -> Result<Batches<'_>> {
        let mut loader = Loader::new(Arc::clone(images), epoch, self.context.workers)?;
        let mut pass = Pass::inference(self.state);
        Ok(Box::new(std::iter::from_fn(move || {
            let batch = loader.next();
            let path = |sample: &usize| self.dataset.samples[*sample].path.clone();
            self.broken.borrow_mut().extend(loader.skipped().keys().map(path));
            let through = |batch: crate::data::Batch| {
                let input = self.model.forward(&mut pass, 0..self.layers, Value::constant(batch.images))?;
                Ok(Batch {
                    index: batch.index,
                    input: input.into_tensor(),
                    targets: batch.labels,
                    streams: self.streams(&batch.samples),
                    samples: batch.samples,
                })
            };
            Some(batch?.and_then(through))
        })))
    }

    /// By path, as an image is one in a recipe: its place among all images moves when a test image is added.
    fn streams(&self, samples: &[usize]) -> Vec<u64> {
        samples.iter().map(|&sample| name_hash(&self.dataset.samples[sample].path)).collect()
    }
}

fn in_order(order: Vec<usize>) -> Epoch {
    Epoch { order, batch_size: INFERENCE_BATCH, first_batch: 0, seed: 0, epoch: 0 }
}

impl Feed for Source<'_> {
    fn steps_per_epoch(&self) -> usize {
        self.train_samples.len().div_ceil(self.batch_size)
    }

    fn train(&self, epoch: u32, start: usize) -> Result<Batches<'_>> {
        let order = shuffled(&self.train_samples, self.seed, epoch);
        let epoch = Epoch { order, batch_size: self.batch_size, first_batch: start, seed: self.seed, epoch };
        self.batches(&self.train, epoch)
    }

    fn validation(&self) -> Option<Result<Batches<'_>>> {
        (!self.validation_samples.is_empty())
            .then(|| self.batches(&self.validation, in_order(self.validation_samples.clone())))
    }

    fn broken(&self) -> BTreeSet<String> {
        self.broken.borrow().clone()
    }
}

/// The prefix's output for every sample, computed once.
struct Features {
    /// [samples, …], one row for each readable sample.
    rows: Tensor,
    /// By sample of the data set: its row and its class.
    place: Vec<Option<(u32, u32)>>,
}

impl Features {
    /// None where they would not fit. Each of `images` is asked for once.
    fn compute(source: &Source, images: &Arc<Images>) -> Result<Option<Self>> {
        let samples = [&source.train_samples[..], &source.validation_samples[..]].concat();
        let mut place = vec![None; samples.iter().max().map_or(0, |last| last + 1)];
        let (mut numbers, mut shape): (Vec<f32>, Vec<usize>) = Default::default();
        let (mut rows, started) = (0, (source.context.clock)());
        for batch in source.batches(images, in_order(samples.clone()))? {
            source.context.interrupt.check()?;
            let batch = batch?;
            let row_bytes =
                batch.input.elem_count() / batch.samples.len() * batch.input.dtype().size_in_bytes();
            if row_bytes * samples.len() > FEATURE_MEMORY {
                source.context.warn(
                    "the features of the frozen layers do not fit in memory; they are recomputed every epoch",
                );
                return Ok(None);
            }
            for (&sample, &target) in batch.samples.iter().zip(&batch.targets) {
                place[sample] = Some((rows, target));
                rows += 1;
            }
            if numbers.is_empty() {
                numbers.reserve_exact(row_bytes / size_of::<f32>() * samples.len());
                shape = batch.input.dims().to_vec();
            }
            numbers.extend(batch.input.flatten_all()?.to_vec1::<f32>()?);
            let elapsed = ((source.context.clock)() - started).max(1e-9);
            source.context.observer.event(&Event::Features {
                stage: source.context.stage.to_owned(),
                done: rows as u64,
                of: samples.len() as u64,
                images_per_second: f64::from(rows) / elapsed,
            });
        }
        if numbers.is_empty() {
            return Err(Error::failed("none of the images can be read"));
        }
        shape[0] = rows as usize;
        Ok(Some(Self { rows: Tensor::from_vec(numbers, shape, &Device::Cpu)?, place }))
    }

    /// The readable ones of some samples.
    fn batch(&self, source: &Source, index: usize, samples: &[usize]) -> Option<Result<Batch>> {
        let readable: Vec<(usize, u32, u32)> = samples
            .iter()
            .filter_map(|&sample| self.place[sample].map(|(row, target)| (sample, row, target)))
            .collect();
        if readable.is_empty() {
            return None;
        }
        let rows: Vec<u32> = readable.iter().map(|(_, row, _)| *row).collect();
        let gather = || Ok(self.rows.index_select(&Tensor::new(rows, self.rows.device())?, 0)?);
        let samples: Vec<usize> = readable.iter().map(|(sample, _, _)| *sample).collect();
        Some(gather().map(|input| Batch {
            index,
            input,
            targets: readable.iter().map(|(_, _, target)| *target).collect(),
            streams: source.streams(&samples),
            samples,
        }))
    }

    fn batches<'a>(
        &'a self,
        source: &'a Source,
        order: Vec<usize>,
        batch_size: usize,
        start: usize,
    ) -> Batches<'a> {
        let count = order.len().div_ceil(batch_size);
        Box::new((start..count).filter_map(move |index| {
            let end = order.len().min((index + 1) * batch_size);
            self.batch(source, index, &order[index * batch_size..end])
        }))
    }
}

/// A source whose features are kept.
struct Kept<'a> {
    source: Source<'a>,
    features: Features,
}

impl Feed for Kept<'_> {
    fn steps_per_epoch(&self) -> usize {
        self.source.steps_per_epoch()
    }

    fn train(&self, epoch: u32, start: usize) -> Result<Batches<'_>> {
        let order = shuffled(&self.source.train_samples, self.source.seed, epoch);
        Ok(self.features.batches(&self.source, order, self.source.batch_size, start))
    }

    fn validation(&self) -> Option<Result<Batches<'_>>> {
        let samples = &self.source.validation_samples;
        (!samples.is_empty())
            .then(|| Ok(self.features.batches(&self.source, samples.clone(), INFERENCE_BATCH, 0)))
    }

    fn broken(&self) -> BTreeSet<String> {
        self.source.broken()
    }
}

/// The images of a split in the order of their data set, as an evaluation sees them.
pub(super) fn evaluation_loader(
    dataset: &Arc<Dataset>,
    split: Split,
    view: &View,
    context: &Context,
) -> Result<(Loader, usize)> {
    let transform = Transform::evaluation(&view.0, None);
    let images = Images::new(Arc::clone(dataset), transform, view.0.broken, Arc::new(Memory::new(0)));
    let epoch = in_order(dataset.split(split));
    let batches = epoch.batches();
    Ok((Loader::new(Arc::new(images), epoch, context.workers)?, batches))
}
