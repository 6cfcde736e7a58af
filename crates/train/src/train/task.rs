//! The interface between the loop and a task: batches, losses and metrics.

use std::collections::BTreeSet;
use std::iter::Peekable;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};
pub use crate::metrics::Scores;
use crate::metrics::TaskMetrics;
use crate::model::{Activations, Outputs};
use crate::ranks::BatchShare;

/// One batch, as the output of the layers that are frozen in its epoch.
pub struct TrainBatch<Targets> {
    /// Its index in the epoch, from 0.
    pub index: usize,
    /// The tensors that cross the cut below `layer`: images [N, H, W, C], or the output of the frozen prefix.
    pub input: Activations,
    /// The first layer to run: the layers below are the frozen prefix, and have run.
    pub layer: usize,
    /// The targets of its rows.
    pub targets: Targets,
    /// The index of each row's sample in its data set.
    pub samples: Vec<usize>,
    /// The stream address of each row's random draws: from the sample's name, so that no other sample affects
    /// it.
    pub streams: Vec<u64>,
    /// The teacher's output for the same rows, a constant; `None` without a teacher.
    pub teacher: Option<Outputs>,
}

/// Batches in order, up to the first error.
pub type Batches<'a, Targets> = Box<dyn Iterator<Item = Result<TrainBatch<Targets>>> + 'a>;

/// The next batch of a rank, if it has this index or is an error. A batch whose images cannot be read is left out.
pub fn next_of_index<Targets>(
    batches: &mut Peekable<Batches<'_, Targets>>,
    index: usize,
) -> Option<Result<TrainBatch<Targets>>> {
    batches.next_if(|batch| batch.as_ref().map_or(true, |batch| batch.index == index))
}

/// The source of batches. The same epoch gives the same batches, from any starting batch.
pub trait BatchSource<Targets> {
    /// Training batches in one epoch.
    fn batches_per_epoch(&self) -> usize;

    /// The training batches of `epoch` that `share` contains, in order.
    fn train(&self, epoch: u32, share: BatchShare) -> Result<Batches<'_, Targets>>;

    /// The validation batches at the end of `epoch` that `share` contains, if there is a validation split.
    fn validation(&self, epoch: u32, share: BatchShare) -> Option<Result<Batches<'_, Targets>>>;

    /// The names of the skipped samples, which cannot be read.
    fn broken(&self) -> BTreeSet<String>;

    /// Takes note of samples that other ranks have skipped.
    fn add_broken(&self, _names: &BTreeSet<String>) {}
}

/// What a meter takes from a batch, as columns of numbers. Other ranks get them with all their bits.
pub type Readings = Vec<Vec<f64>>;

/// The loss of a batch.
pub struct BatchLoss<Stats> {
    /// A scalar on the tape of the outputs: the loss divided by `weight`.
    pub mean: Value,
    /// The denominator of the mean, for instance the number of rows or the sum of their weights. The batches of one
    /// optimizer step are averaged by it.
    pub weight: f64,
    /// The input of the meter.
    pub stats: Stats,
}

/// A task as the loop needs it: the loss of outputs and targets, and its metrics.
///
/// The loop never inspects the associated types: targets may be classes or lists of boxes, and a meter may keep
/// sums or ranked detections.
pub trait TrainTask {
    /// The targets of a batch.
    type Targets: Clone + 'static;

    /// Running sums over an epoch, small and serializable: checkpoints contain them.
    type Meter: Clone + Serialize + DeserializeOwned;

    /// The input of a meter from one batch. A GPU may still be computing it.
    type BatchStats;

    /// Whether an optimizer step follows the sum of its batches' gradients, each times its weight, and not their mean.
    fn sums_batches(&self) -> bool {
        false
    }

    /// The meter at the start of an epoch.
    fn meter(&self) -> Self::Meter;

    /// The names of its scores, and how they are shown.
    fn metrics(&self) -> &'static TaskMetrics;

    /// The meter of a validation, which may compute more than that of training.
    fn validation_meter(&self) -> Self::Meter {
        self.meter()
    }

    /// Reduces a meter that takes no more batches to what checkpoints keep.
    fn finalize(&self, meter: Self::Meter) -> Self::Meter {
        meter
    }

    /// The loss of a batch.
    fn loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        targets: &Self::Targets,
    ) -> Result<BatchLoss<Self::BatchStats>>;

    /// Adds a batch to `meter`. Blocks until the device has computed it.
    fn update(&self, meter: &mut Self::Meter, stats: Self::BatchStats) -> Result<()>;

    /// What `meter` takes from a batch, for other ranks. Blocks until the device has computed it.
    fn pack(&self, meter: &Self::Meter, stats: Self::BatchStats) -> Result<Readings>;

    /// The opposite of [`TrainTask::pack`]: updates a meter as the packed values would.
    ///
    /// # Errors
    /// A bug: other columns.
    fn unpack(&self, readings: Readings) -> Result<Self::BatchStats>;

    /// The distance of outputs from a teacher's for the same rows: a scalar, the mean over the rows. `stats` are those of
    /// the batch's loss, to which the task may add what its meter shall sum up.
    ///
    /// # Errors
    /// The task has no distillation.
    fn distillation_loss(
        &self,
        _tape: &mut Tape,
        _outputs: &Outputs,
        _teacher: &Outputs,
        _stats: Option<&mut Self::BatchStats>,
    ) -> Result<Value> {
        Err(Error::bug("distillation of a task that has none"))
    }

    /// The factors of the labels' loss and of the distillation loss in the loss of a stage with a teacher.
    fn distillation_shares(&self) -> [f64; 2] {
        [1.0; 2]
    }

    /// The scores that are shown after every step: those that cost nothing to compute.
    fn progress(&self, meter: &Self::Meter) -> Scores;

    /// All scores.
    fn scores(&self, meter: &Self::Meter) -> Scores;
}
