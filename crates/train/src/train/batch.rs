//! The forward and backward pass of one batch.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::TrainProgress;
use super::context::{LossTerm, TrainContext};
use super::finite_checks::{FiniteCheck, require_gradients};
use super::loss_scale::LossScale;
use super::precision;
use super::task::{TrainBatch, TrainTask};
use crate::error::{Error, Result};
use crate::model::{BufferUpdates, ParameterGradients, Pass};
use crate::ops::{self, Deferred};

/// A batch after its backward pass, before it counts.
pub(super) struct ComputedBatch<Stats> {
    /// The gradients of each mean loss with its denominator: of the whole loss, or of the labels' and the teacher's.
    pub gradients: Vec<(ParameterGradients, f64)>,
    pub running_statistics: BufferUpdates,
    pub losses: DeferredLosses<Stats>,
}

impl<Stats> ComputedBatch<Stats> {
    /// Adds the gradients to those of the next optimizer step, and applies the running statistics, which every batch
    /// updates.
    pub fn count<M: Clone + Serialize + DeserializeOwned>(
        self,
        progress: &mut TrainProgress<M>,
    ) -> Result<DeferredLosses<Stats>> {
        progress.apply(&self.running_statistics)?;
        let sums = [&mut progress.gradients, &mut progress.taught];
        for ((gradients, weight), sum) in self.gradients.into_iter().zip(sums) {
            sum.add(gradients, weight)?;
        }
        Ok(self.losses)
    }
}

/// Forward and backward pass. Nothing here waits for a GPU, and `progress` stays as it is.
pub(super) fn compute<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &TrainProgress<T::Meter>,
    batch: &TrainBatch<T::Targets>,
) -> Result<ComputedBatch<T::BatchStats>> {
    if batch.teacher.is_none() || !context.settings.weighs_teacher_apart() {
        let walked = forward_backward(context, progress, batch, LossSelection::Whole)?;
        return Ok(ComputedBatch {
            gradients: vec![(walked.gradients, walked.weight)],
            running_statistics: walked.running_statistics,
            losses: DeferredLosses { parts: vec![(walked.loss, walked.weight, 1.0)], stats: walked.stats },
        });
    }
    let [of_labels, of_teacher] = context.task.distillation_shares();
    let labels = forward_backward(context, progress, batch, LossSelection::Labels)?;
    // The same forward pass: its running statistics are those above.
    let teacher = forward_backward(context, progress, batch, LossSelection::Teacher)?;
    let parts = vec![(labels.loss, labels.weight, of_labels), (teacher.loss, teacher.weight, of_teacher)];
    Ok(ComputedBatch {
        gradients: vec![(labels.gradients, labels.weight), (teacher.gradients, teacher.weight)],
        running_statistics: labels.running_statistics,
        losses: DeferredLosses { parts, stats: labels.stats },
    })
}

/// The summands of the loss that a backward pass uses.
#[derive(Clone, Copy, PartialEq)]
enum LossSelection {
    Whole,
    Labels,
    Teacher,
}

/// The losses of a batch, which a GPU may still be computing.
pub(super) struct DeferredLosses<Stats> {
    /// Each with the batch's weight in its mean, and its share of the whole loss.
    parts: Vec<(Deferred<f64>, f64, f64)>,
    /// The input of the meter.
    stats: Option<Stats>,
}

impl<Stats> DeferredLosses<Stats> {
    /// The summands of the loss, and the input of the meter. Blocks until the device has computed them.
    pub fn read(self) -> Result<(Vec<LossTerm>, Option<Stats>)> {
        let part = |(loss, weight, share)| Ok(LossTerm { loss: share * wait_scalar(loss)?, weight });
        Ok((self.parts.into_iter().map(part).collect::<Result<_>>()?, self.stats))
    }
}

/// The forward and backward pass of some summands of the loss.
struct BackwardResult<Stats> {
    loss: Deferred<f64>,
    weight: f64,
    stats: Option<Stats>,
    gradients: ParameterGradients,
    running_statistics: BufferUpdates,
}

fn forward_backward<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &TrainProgress<T::Meter>,
    batch: &TrainBatch<T::Targets>,
    part: LossSelection,
) -> Result<BackwardResult<T::BatchStats>> {
    let phase = context.table.phase(progress.epoch);
    let mut pass = Pass::training(
        &progress.state,
        &phase.trainable,
        &phase.norms,
        context.seed,
        progress.epoch,
        &batch.streams,
    );
    let settings = context.settings;
    let _products = precision::set_matmul_precision(batch.input.device()?, settings.precision)?;
    let input = batch.input.map(|tensor| precision::round_to(tensor, settings.precision))?;
    let outputs = context.model.forward(&mut pass, batch.layer, input)?;
    let outputs = precision::of_loss(pass.tape(), outputs, settings.precision)?;
    let (mut loss, mut weight, mut stats) = (None, batch.samples.len() as f64, None);
    if part != LossSelection::Teacher {
        let labels = context.task.loss(pass.tape(), &outputs, &batch.targets)?;
        (loss, weight, stats) = (Some(labels.mean), labels.weight, Some(labels.stats));
    }
    if let Some(teacher) = batch.teacher.as_ref().filter(|_| part != LossSelection::Labels) {
        let distillation = context.task.distillation_loss(pass.tape(), &outputs, teacher, stats.as_mut())?;
        let shares = context.task.distillation_shares();
        loss = Some(match loss {
            Some(labels) => ops::blend_losses(pass.tape(), &labels, &distillation, shares)?,
            None => distillation,
        });
    }
    drop(outputs);

    let loss = loss.ok_or_else(|| Error::bug("a batch without a loss"))?;
    let value = Deferred::from_scalar(loss.tensor())?;
    let scale = progress.loss_scale.as_ref();
    let (gradients, running_statistics) =
        pass.backward_scaled(&loss, scale.map_or(1.0, LossScale::factor))?;
    if progress.optimizer.has_unstarted_parameters() {
        // A scale may be too large in the first step: then the step is skipped.
        let finite = if scale.is_none() { FiniteCheck::Now } else { FiniteCheck::Later };
        require_gradients(context.model, &gradients, finite)?;
    }
    Ok(BackwardResult { loss: value, weight, stats, gradients, running_statistics })
}

/// The value of a scalar.
pub(super) fn wait_scalar(number: Deferred<f64>) -> Result<f64> {
    number.wait()?.first().copied().ok_or_else(|| Error::bug("a scalar without a number"))
}
