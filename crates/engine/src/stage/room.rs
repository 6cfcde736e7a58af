//! Where a GPU's memory is too small for a step: what it would take, and what would fit.
//!
//! It is tried: steps on half as many images, and on half of these, until two of them fit. What the whole batch would take
//! is where the line through both leads.

use std::collections::BTreeSet;

use candle_core::Tensor;

use crate::device::{Gauge, gigabytes};
use crate::error::{Error, Result};
use crate::pipeline::{self, Precision};
use crate::task::Task;
use crate::train::{self, Batch, Batches, Feed, Progress, Setup, Unwatched};

/// What makes the moving parts of a stage as they are at its beginning.
pub(super) type Start<'a, T> = &'a dyn Fn(&Setup<T>) -> Result<Progress<<T as train::Task>::Meter>>;

/// The error of a stage whose step in `epoch` had no room. `start` is what the stage begins with.
pub(super) fn too_small<T: Task>(setup: &Setup<T>, epoch: u32, gauge: &Gauge, start: Start<T>) -> Error {
    let (settings, batch) = (setup.settings, setup.settings.batch_size);
    let halves = std::iter::successors(Some(batch / 2), |batch| Some(batch / 2));
    let halves = halves.take_while(|images| *images > 0);
    let peak = |images: usize| Some((images, peak(setup, epoch, gauge, start, images).ok()?));
    let mut fitting = halves.filter_map(peak);
    let (fits, fewer) = (fitting.next(), fitting.next());
    let had = gauge.to_be_had();
    let takes = fits.zip(fewer).map(|((images, bytes), (fewer, less))| {
        let each = bytes.saturating_sub(less) as f64 / (images - fewer) as f64;
        bytes + (each * (batch - images) as f64) as u64
    });
    let takes = match takes.filter(|takes| *takes > had) {
        Some(takes) => format!("about {}, but {} are free", gigabytes(takes), gigabytes(had)),
        None => format!("more than the {} that are free", gigabytes(had)),
    };
    let mut cures = Vec::new();
    if let Some((images, _)) = fits {
        let accumulate = batch.div_ceil(images) * settings.accumulate as usize;
        cures.push(format!("`batch_size = {images}` with `accumulate = {accumulate}`, which fits"));
    }
    if settings.precision != Precision::Bf16 {
        cures.push("`precision = \"bf16\"`".to_owned());
    }
    cures.push("fewer trainable layers (features of frozen layers are cached)".to_owned());
    Error::out_of_memory(format!("the GPU's memory is full: a step on {batch} images needs {takes}"))
        .hint(format!("try {}, or a smaller `image_size`; the last checkpoint is kept", cures.join(", ")))
}

/// The most bytes in use in two steps on batches of so many images: the second one finds what the optimizer keeps.
fn peak<T: Task>(setup: &Setup<T>, epoch: u32, gauge: &Gauge, start: Start<T>, images: usize) -> Result<u64> {
    let table = setup.table.during(setup.table.phase(epoch));
    let settings = pipeline::Train {
        epochs: 1,
        // Of what is advised: gradients wait for others.
        accumulate: 2,
        early_stop: None,
        unfreeze: Vec::new(),
        ..setup.settings.clone()
    };
    let feed = Few { task: setup.task, feed: setup.feed, epoch, images };
    gauge.watch();
    let few = Setup {
        model: setup.model,
        table: &table,
        task: setup.task,
        feed: &feed,
        seed: 0,
        settings: &settings,
    };
    let mut progress = start(&few)?;
    train::fit(&few, &mut progress, &mut Unwatched)?;
    Ok(gauge.peak())
}

/// The first images of an epoch's first batch, for two steps of two batches each.
struct Few<'a, T: Task> {
    task: &'a T,
    feed: &'a dyn Feed<T::Targets>,
    epoch: u32,
    images: usize,
}

impl<T: Task> Few<'_, T> {
    fn batch(&self, index: usize, batch: &Batch<T::Targets>) -> Result<Batch<T::Targets>> {
        let rows = self.images.min(batch.samples.len());
        let first = |tensor: &Tensor| Ok(tensor.narrow(0, 0, rows)?);
        Ok(Batch {
            index,
            input: batch.input.map(first)?,
            layer: batch.layer,
            targets: self.task.first(&batch.targets, rows),
            samples: batch.samples[..rows].to_vec(),
            streams: batch.streams[..rows].to_vec(),
            teacher: batch.teacher.as_ref().map(|outputs| outputs.map(first)).transpose()?,
        })
    }
}

impl<T: Task> Feed<T::Targets> for Few<'_, T> {
    fn batches_per_epoch(&self) -> usize {
        4
    }

    fn train(&self, _: u32, _: usize) -> Result<Batches<'_, T::Targets>> {
        let first = self.feed.train(self.epoch, 0)?.next();
        let first = first.unwrap_or_else(|| Err(Error::bug("an epoch without a batch")));
        let first = first?;
        Ok(Box::new((0..self.batches_per_epoch()).map(move |index| self.batch(index, &first))))
    }

    fn validation(&self, _: u32) -> Option<Result<Batches<'_, T::Targets>>> {
        None
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}
