//! What the loop is given, and who watches it.

use super::checkpoint::{EpochRow, TrainCheckpoint, TrainProgress};
use super::task::{BatchSource, Scores, Task};
use crate::error::Result;
use crate::freeze::ParameterTable;
use crate::model::Model;
use crate::pipeline;

/// Everything that stays the same while a stage trains.
pub struct TrainContext<'a, T: Task> {
    pub model: &'a Model,
    pub table: &'a ParameterTable,
    pub task: &'a T,
    pub batch_source: &'a dyn BatchSource<T::Targets>,
    pub seed: u64,
    pub settings: &'a pipeline::Train,
}

impl<T: Task> TrainContext<'_, T> {
    /// Optimizer steps in one epoch: the last takes what batches are left.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.batch_source.batches_per_epoch() as u64).div_ceil(u64::from(self.settings.accumulate))
    }

    /// What the learning rates are multiplied by in a step, as long as the monitor stays.
    pub(super) fn lr_factor(&self, progress: &TrainProgress<T::Meter>, step: u64) -> f64 {
        let settings = self.settings;
        let factor = settings.schedule.lr_factor(step, self.steps_per_epoch(), settings.epochs);
        factor * progress.plateau.scale()
    }

    /// The optimizer's own learning rate in a step.
    pub(super) fn lr(&self, progress: &TrainProgress<T::Meter>, step: u64) -> f64 {
        self.settings.optimizer.lr() * self.lr_factor(progress, step)
    }
}

/// Who watches the loop and keeps its checkpoints.
pub trait TrainCallbacks {
    fn step(&mut self, step: &StepReport);
    fn epoch(&mut self, row: &EpochRow) -> Result<()>;
    /// Names the samples of a batch, for an error about it.
    fn describe_samples(&self, samples: &[usize]) -> String;
    fn checkpoint_due(&self) -> bool;
    fn interrupted(&self) -> bool;
    /// Keeps a checkpoint taken after `step` optimizer steps, `epoch` epochs being complete.
    fn save(&mut self, checkpoint: &TrainCheckpoint, epoch: u32, step: u64) -> Result<()>;
}

/// Nobody watches, and nothing is kept: for a loop that runs for its own sake.
pub struct NoCallbacks;

impl TrainCallbacks for NoCallbacks {
    fn step(&mut self, _: &StepReport) {}

    fn epoch(&mut self, _: &EpochRow) -> Result<()> {
        Ok(())
    }

    fn describe_samples(&self, samples: &[usize]) -> String {
        format!("{} images", samples.len())
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    fn interrupted(&self) -> bool {
        false
    }

    fn save(&mut self, _: &TrainCheckpoint, _: u32, _: u64) -> Result<()> {
        Ok(())
    }
}

/// A summand of a batch's loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossTerm {
    pub loss: f64,
    /// What the batch counts in the mean over several batches.
    pub weight: f64,
}

/// What one batch did.
pub struct StepReport<'a> {
    pub epoch: u32,
    /// Batches done in this epoch, and in a whole one.
    pub done: usize,
    pub of: usize,
    pub images: usize,
    /// The loss that was descended on; the loop ends behind one that is not finite.
    pub loss: f64,
    /// The summands of `loss`, each a mean of its own.
    pub parts: &'a [LossTerm],
    /// Running scores of the epoch so far.
    pub scores: &'a Scores,
}
