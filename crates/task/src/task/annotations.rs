//! The annotations of a batch's images, from which a task makes targets.

use super::Task;
use crate::data::Sample;
use crate::train::{Batches, TrainBatch};

/// The annotations of a batch, row by row.
#[derive(Clone, Debug)]
pub struct Annotations<'a> {
    /// The sample of each row.
    pub samples: Vec<&'a Sample>,
    /// The weight of each row's own image if images were mixed (mixup, CutMix). The previous row has the rest; for the
    /// first row, this is the last row.
    pub shares: Option<Vec<f64>>,
}

impl<'a> Annotations<'a> {
    /// For images that were not mixed.
    pub fn of(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        Self { samples: samples.into_iter().collect(), shares: None }
    }
}

/// Batches without targets yet.
pub type Annotated<'a> = Batches<'a, Annotations<'a>>;

/// Makes the targets of every batch.
pub fn with_targets<'a, T: Task>(task: &'a T, batches: Annotated<'a>) -> Batches<'a, T::Targets> {
    Box::new(batches.map(|batch| {
        let TrainBatch { index, input, layer, targets, samples, streams, teacher } = batch?;
        Ok(TrainBatch { index, input, layer, targets: task.targets(&targets)?, samples, streams, teacher })
    }))
}

/// For each of `rows` rows, the row that was mixed into it.
pub(super) fn mixed_in(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).map(move |row| (row + rows - 1) % rows)
}
