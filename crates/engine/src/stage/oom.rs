//! Advice for a GPU with too little memory for a step: the memory needed, and the batch size that fits.
//!
//! It tries steps on half of the images, and on half of these, until two fit. A line through both gives the
//! memory of the whole batch.

use std::collections::BTreeSet;

use candle_core::Tensor;

use crate::device::{GpuMemory, gigabytes};
use crate::error::{Error, Result};
use crate::pipeline::{self, Precision};
use crate::ranks::{BatchShare, Team};
use crate::task::Task;
use crate::train::{self, BatchSource, Batches, NoCallbacks, TrainBatch, TrainContext, TrainProgress};

/// Makes the state of a stage at its beginning.
pub(super) type StartProgress<'a, T> =
    &'a dyn Fn(&TrainContext<T>) -> Result<TrainProgress<<T as train::TrainTask>::Meter>>;

/// The error of a stage whose step in `epoch` did not fit. `start` makes the initial state.
pub(super) fn out_of_memory_advice<T: Task>(
    train_context: &TrainContext<T>,
    epoch: u32,
    gauge: &GpuMemory,
    start: StartProgress<T>,
) -> Error {
    let (settings, batch) = (train_context.settings, train_context.settings.batch_size);
    let halves = std::iter::successors(Some(batch / 2), |batch| Some(batch / 2));
    let halves = halves.take_while(|images| *images > 0);
    let peak = |images: usize| Some((images, peak(train_context, epoch, gauge, start, images).ok()?));
    let mut fitting = halves.filter_map(peak);
    let (fits, fewer) = (fitting.next(), fitting.next());
    let had = gauge.available();
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
    if [Precision::F32, Precision::Tf32].contains(&settings.precision) {
        let half = gauge.capability().and_then(train::half_precision);
        cures.extend(half.map(|half| format!("`precision = \"{}\"`", half.name())));
    }
    cures.push("fewer trainable layers (features of frozen layers are cached)".to_owned());
    Error::out_of_memory(format!("the GPU's memory is full: a step on {batch} images needs {takes}"))
        .hint(format!("try {}, or a smaller `image_size`; the last checkpoint is kept", cures.join(", ")))
}

/// The peak memory of two steps on batches of `images` images: the second includes the optimizer's state.
fn peak<T: Task>(
    train_context: &TrainContext<T>,
    epoch: u32,
    gauge: &GpuMemory,
    start: StartProgress<T>,
    images: usize,
) -> Result<u64> {
    let table = train_context.table.during(train_context.table.phase(epoch));
    let settings = pipeline::Train {
        epochs: 1,
        // For the advised batch: gradients are kept for `accumulate`.
        accumulate: 2,
        early_stop: None,
        unfreeze: Vec::new(),
        ..train_context.settings.clone()
    };
    let batch_source =
        TrialBatches { task: train_context.task, batch_source: train_context.batch_source, epoch, images };
    gauge.reset_peak();
    let few = TrainContext {
        model: train_context.model,
        table: &table,
        task: train_context.task,
        batch_source: &batch_source,
        seed: 0,
        settings: &settings,
        team: Team::alone(),
    };
    let mut progress = start(&few)?;
    train::fit(&few, &mut progress, &mut NoCallbacks)?;
    Ok(gauge.peak())
}

/// The first images of an epoch's first batch, for two steps of two batches each.
struct TrialBatches<'a, T: Task> {
    task: &'a T,
    batch_source: &'a dyn BatchSource<T::Targets>,
    epoch: u32,
    images: usize,
}

impl<T: Task> TrialBatches<'_, T> {
    fn batch(&self, index: usize, batch: &TrainBatch<T::Targets>) -> Result<TrainBatch<T::Targets>> {
        let rows = self.images.min(batch.samples.len());
        let first = |tensor: &Tensor| Ok(tensor.narrow(0, 0, rows)?);
        Ok(TrainBatch {
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

impl<T: Task> BatchSource<T::Targets> for TrialBatches<'_, T> {
    fn batches_per_epoch(&self) -> usize {
        4
    }

    fn train(&self, _: u32, share: BatchShare) -> Result<Batches<'_, T::Targets>> {
        let first = self.batch_source.train(self.epoch, BatchShare::all(0))?.next();
        let first = first.unwrap_or_else(|| Err(Error::bug("an epoch without a batch")));
        let first = first?;
        let own = (0..self.batches_per_epoch()).filter(move |index| share.contains(*index));
        Ok(Box::new(own.map(move |index| self.batch(index, &first))))
    }

    fn validation(&self, _: u32, _: BatchShare) -> Option<Result<Batches<'_, T::Targets>>> {
        None
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}
