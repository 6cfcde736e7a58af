//! What the loop does not know: targets, loss and metrics of a task.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};
use crate::model::{Activations, Outputs};
use crate::ops::Mixture;

/// Scores by name, such as `loss`, `accuracy`, `macro_f1`.
pub type Scores = BTreeMap<String, f64>;

/// One batch, behind the layers that are frozen in its epoch.
pub struct Batch {
    /// Its place in the epoch, from 0.
    pub index: usize,
    /// What crosses the cut ahead of `layer`: images [N, H, W, C], or what the frozen prefix has made of them.
    pub input: Activations,
    /// The first layer that is to run: those ahead of it are the frozen prefix, and were run.
    pub layer: usize,
    pub targets: Targets,
    /// The place of each row's sample in its data set.
    pub samples: Vec<usize>,
    /// What addresses each row's random draws: of the sample's own name, so that no other sample moves them.
    pub streams: Vec<u64>,
    /// What a teacher says of each row, [N, K]; none where nobody teaches.
    pub teacher: Option<Tensor>,
}

/// What the rows of a batch show.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// The class of each row.
    Classes(Vec<u32>),
    /// Two classes and their shares for each row: images that were mixed (mixup, cutmix).
    Mixtures(Vec<Mixture>),
    /// How much of each class each row shows, [N, K] row by row: 1 or 0, or a share where images were mixed.
    Labels(Vec<f32>),
}

impl Targets {
    /// The class of each row; of a mixture, the one with the greater share.
    pub fn most(&self) -> Result<Cow<'_, [u32]>> {
        match self {
            Self::Classes(classes) => Ok(Cow::Borrowed(classes)),
            Self::Mixtures(mixtures) => Ok(mixtures.iter().map(Mixture::most).collect()),
            Self::Labels(_) => Err(Error::bug("labels where one class is asked for")),
        }
    }

    /// All rows as mixtures.
    pub fn mixtures(&self) -> Result<Cow<'_, [Mixture]>> {
        match self {
            Self::Mixtures(mixtures) => Ok(Cow::Borrowed(mixtures)),
            _ => Ok(self.most()?.iter().copied().map(Mixture::of).collect()),
        }
    }

    /// Those of the first `rows` of `all`.
    pub fn first(&self, rows: usize, all: usize) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(classes[..rows].to_vec()),
            Self::Mixtures(mixtures) => Self::Mixtures(mixtures[..rows].to_vec()),
            Self::Labels(labels) => Self::Labels(labels[..rows * (labels.len() / all)].to_vec()),
        }
    }

    /// What is left of each row by its share when the row ahead of it, of the first row the last, has the rest.
    pub fn mixed(&self, shares: &[f64]) -> Result<Self> {
        let rows = shares.len();
        let others = (0..rows).map(|row| (row + rows - 1) % rows);
        if let Self::Labels(labels) = self {
            let width = labels.len() / rows;
            let of = |row: usize| &labels[row * width..][..width];
            let row = |((row, other), share): ((usize, usize), &f64)| {
                let (share, rest) = (*share as f32, (1.0 - share) as f32);
                of(row).iter().zip(of(other)).map(move |(own, other)| own * share + other * rest)
            };
            return Ok(Self::Labels(others.enumerate().zip(shares).flat_map(row).collect()));
        }
        let classes = self.most()?;
        let row = |((row, other), &share): ((usize, usize), &f64)| Mixture {
            classes: [classes[row], classes[other]],
            share,
        };
        Ok(Self::Mixtures(others.enumerate().zip(shares).map(row).collect()))
    }
}

/// Batches in order; an error ends them.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// Where batches come from. The same epoch gives the same batches, from wherever it is entered.
pub trait Feed {
    /// Training batches in one epoch.
    fn batches_per_epoch(&self) -> usize;

    /// The training batches of `epoch`, from batch `start` on.
    fn train(&self, epoch: u32, start: usize) -> Result<Batches<'_>>;

    /// The validation batches at the end of `epoch`, if there is a validation split.
    fn validation(&self, epoch: u32) -> Option<Result<Batches<'_>>>;

    /// The names of the samples left out so far because they cannot be read.
    fn broken(&self) -> BTreeSet<String>;
}

/// The loss of a batch.
pub struct BatchLoss<R> {
    /// A scalar on the tape where the outputs are: the mean over the rows.
    pub mean: Value,
    /// The sum of what the rows count in that mean; by it the batches of an optimizer step are joined.
    pub weight: f64,
    /// What is to be counted of it.
    pub reading: R,
}

/// A task: how outputs are compared with their targets, and what is counted on the way.
pub trait Task {
    /// Running sums over an epoch, small and serializable: they travel in checkpoints.
    type Meter: Clone + Serialize + DeserializeOwned;

    /// What a meter counts of a batch. A GPU may still be computing it.
    type Reading;

    fn meter(&self) -> Self::Meter;

    /// That of validation, where more is asked than of images in training.
    fn validation_meter(&self) -> Self::Meter {
        self.meter()
    }

    /// What is kept of a meter to which nothing more is added.
    fn settled(&self, meter: Self::Meter) -> Self::Meter {
        meter
    }

    /// The loss of a batch.
    fn loss(&self, tape: &mut Tape, outputs: &Outputs, targets: &Targets)
    -> Result<BatchLoss<Self::Reading>>;

    /// Adds a batch to `meter`, once it is computed.
    fn count(&self, meter: &mut Self::Meter, reading: Self::Reading) -> Result<()>;

    /// How far outputs are from a teacher's scores [N, K] of the same rows: a scalar, the mean over the rows.
    ///
    /// # Errors
    /// The task has no teacher.
    fn divergence(&self, _tape: &mut Tape, _outputs: &Outputs, _teacher: &Tensor) -> Result<Value> {
        Err(Error::bug("a teacher for a task that has none"))
    }

    /// The scores that are shown after every step: those that cost nothing to know.
    fn running(&self, meter: &Self::Meter) -> Scores;

    /// All scores.
    fn scores(&self, meter: &Self::Meter) -> Scores;
}
