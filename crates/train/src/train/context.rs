//! The inputs and the callbacks of the loop.

use super::checkpoint::{EpochRow, TrainCheckpoint, TrainProgress};
use super::optimizer::{StepRates, WarmupRates};
use super::task::{BatchSource, Scores, TrainTask};
use crate::error::Result;
use crate::freeze::ParameterTable;
use crate::model::Model;
use crate::pipeline;
use crate::ranks::Team;

/// Everything that stays constant while a stage trains.
pub struct TrainContext<'a, T: TrainTask> {
    pub model: &'a Model,
    pub table: &'a ParameterTable,
    pub task: &'a T,
    pub batch_source: &'a dyn BatchSource<T::Targets>,
    pub seed: u64,
    pub settings: &'a pipeline::Train,
    /// The ranks that compute the stage together.
    pub team: &'a Team<'a>,
}

impl<T: TrainTask> TrainContext<'_, T> {
    /// Optimizer steps in one epoch: the last one takes the remaining batches.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.batch_source.batches_per_epoch() as u64).div_ceil(u64::from(self.settings.accumulate))
    }

    /// The factor of the learning rates in a step, without the monitor's reductions.
    pub(super) fn lr_factor(&self, progress: &TrainProgress<T::Meter>, step: u64) -> f64 {
        let settings = self.settings;
        let factor = settings.schedule.lr_factor(step, self.steps_per_epoch(), settings.epochs);
        factor * progress.plateau.scale()
    }

    /// The rates of an optimizer step.
    pub(super) fn step_rates(&self, progress: &TrainProgress<T::Meter>, step: u64) -> StepRates {
        let factor = self.lr_factor(progress, step);
        let warmup = self.settings.warmup_from.as_ref().and_then(|start| {
            let momentum = self.settings.optimizer.settings().momentum();
            Some(WarmupRates {
                progress: self.settings.schedule.warmup_progress(step, self.steps_per_epoch())?,
                full: progress.plateau.scale(),
                bias_lr: start.bias_lr,
                momentum: start.momentum.zip(momentum).map(<[f64; 2]>::from),
            })
        });
        StepRates { factor, warmup }
    }

    /// The optimizer's own learning rate in a step.
    pub(super) fn lr(&self, progress: &TrainProgress<T::Meter>, step: u64) -> f64 {
        self.settings.optimizer.lr() * self.lr_factor(progress, step)
    }
}

/// Receives steps and epochs from the loop, and stores its checkpoints.
pub trait TrainCallbacks {
    fn step(&mut self, step: &StepReport);
    fn epoch(&mut self, row: &EpochRow) -> Result<()>;
    /// Names the samples of a batch, for an error message.
    fn describe_samples(&self, samples: &[usize]) -> String;
    fn checkpoint_due(&self) -> bool;
    fn interrupted(&self) -> bool;
    /// Stores a checkpoint after `step` optimizer steps and `epoch` complete epochs.
    fn save(&mut self, checkpoint: &TrainCheckpoint, epoch: u32, step: u64) -> Result<()>;
}

/// Ignores everything, for a loop without a stage.
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
    /// The weight of the batch in the mean over several batches.
    pub weight: f64,
}

/// The results of one batch.
pub struct StepReport<'a> {
    pub epoch: u32,
    /// Finished batches of this epoch, and all batches of one.
    pub done: usize,
    pub of: usize,
    pub images: usize,
    /// The training loss; the loop ends after one that is not finite.
    pub loss: f64,
    /// The summands of `loss`, each a mean.
    pub parts: &'a [LossTerm],
    /// The progress scores of the epoch.
    pub scores: &'a Scores,
}
