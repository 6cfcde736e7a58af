//! Forward and backward of one batch.

use super::checkpoint::Progress;
use super::guards::require_gradients;
use super::precision;
use super::setup::{LossPart, Setup};
use super::task::{Batch, Task};
use crate::error::{Error, Result};
use crate::model::{BufferUpdates, ParameterGradients, Pass};
use crate::ops::{self, Later};

/// Forward and backward: gradients for the next optimizer step, and running statistics, which move with every batch.
/// Nothing here waits for a GPU.
pub(super) fn train_batch<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
    batch: &Batch<T::Targets>,
) -> Result<Losses<T::BatchStats>> {
    if batch.teacher.is_none() || !setup.settings.weighs_teacher_apart() {
        let walked = walk(setup, progress, batch, Part::Whole)?;
        progress.apply(walked.running_statistics);
        progress.gradients.add(walked.gradients, walked.weight)?;
        return Ok(Losses { parts: vec![(walked.loss, walked.weight, 1.0)], stats: walked.stats });
    }
    let share = teacher_share(setup);
    let labels = walk(setup, progress, batch, Part::Labels)?;
    // The same forward pass: its running statistics are those above.
    let teacher = walk(setup, progress, batch, Part::Teacher)?;
    progress.apply(labels.running_statistics);
    progress.gradients.add(labels.gradients, labels.weight)?;
    progress.taught.add(teacher.gradients, teacher.weight)?;
    let parts = vec![(labels.loss, labels.weight, 1.0 - share), (teacher.loss, teacher.weight, share)];
    Ok(Losses { parts, stats: labels.stats })
}

/// The share of the loss that a teacher has.
pub(super) fn teacher_share<T: Task>(setup: &Setup<T>) -> f64 {
    setup.settings.distill.as_ref().map_or(0.0, |distill| distill.weight)
}

/// What of a loss is descended on.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Whole,
    Labels,
    Teacher,
}

/// The losses of a batch, which a GPU may still be computing.
pub(super) struct Losses<Stats> {
    /// Each with what the batch counts in its mean, and its share of the whole loss.
    parts: Vec<(Later<f64>, f64, f64)>,
    /// What the meter counts.
    stats: Option<Stats>,
}

impl<Stats> Losses<Stats> {
    /// The parts of the loss, and what the meter counts. Blocks until the device has computed them.
    pub fn read(self) -> Result<(Vec<LossPart>, Option<Stats>)> {
        let part = |(loss, weight, share)| Ok(LossPart { loss: share * only(loss)?, weight });
        Ok((self.parts.into_iter().map(part).collect::<Result<_>>()?, self.stats))
    }
}

/// Forward and backward of one part of the loss.
struct Walked<Stats> {
    loss: Later<f64>,
    weight: f64,
    stats: Option<Stats>,
    gradients: ParameterGradients,
    running_statistics: BufferUpdates,
}

fn walk<T: Task>(
    setup: &Setup<T>,
    progress: &Progress<T::Meter>,
    batch: &Batch<T::Targets>,
    part: Part,
) -> Result<Walked<T::BatchStats>> {
    let phase = setup.table.phase(progress.epoch);
    let mut pass = Pass::training(
        &progress.state,
        &phase.trainable,
        &phase.norms,
        setup.seed,
        progress.epoch,
        &batch.streams,
    );
    let settings = setup.settings;
    let _products = precision::products(batch.input.device()?, settings.precision)?;
    let input = batch.input.map(|tensor| precision::rounded(tensor, settings.precision))?;
    let outputs = setup.model.forward(&mut pass, batch.layer, input)?;
    let (mut loss, mut weight, mut stats) = (None, batch.samples.len() as f64, None);
    if part != Part::Teacher {
        let labels = setup.task.loss(pass.tape(), &outputs, &batch.targets)?;
        (loss, weight, stats) = (Some(labels.mean), labels.weight, Some(labels.stats));
    }
    if let Some(teacher) = batch.teacher.as_ref().filter(|_| part != Part::Labels) {
        let distillation = setup.task.distillation_loss(pass.tape(), &outputs, teacher)?;
        loss = Some(match loss {
            Some(labels) => ops::blended(pass.tape(), &labels, &distillation, teacher_share(setup))?,
            None => distillation,
        });
    }
    drop(outputs);

    let loss = loss.ok_or_else(|| Error::bug("a batch without a loss"))?;
    let value = Later::scalar(loss.tensor())?;
    let (gradients, running_statistics) = pass.backward(&loss)?;
    if progress.optimizer.has_newcomers() {
        require_gradients(setup.model, &gradients)?;
    }
    Ok(Walked { loss: value, weight, stats, gradients, running_statistics })
}

/// The number of a scalar.
pub(super) fn only(number: Later<f64>) -> Result<f64> {
    number.read()?.first().copied().ok_or_else(|| Error::bug("a scalar without a number"))
}
