//! The batches that are computed between two looks at the outside: one, or one for each rank.

use super::batch::compute;
use super::checkpoint::TrainProgress;
use super::context::{LossTerm, TrainContext};
use super::fit::optimizer_step;
use super::shared_round::SharedRounds;
use super::task::{Batches, TrainTask};
use crate::error::Result;
use crate::ops::Deferred;
use crate::ranks::BatchShare;

/// Batches that count, in order; after the last, perhaps an optimizer step.
pub(super) struct Round<Stats> {
    pub batches: Vec<BatchResult<Stats>>,
    /// The norm of the gradients, if there was a step that needs it.
    pub norm: Option<Deferred<f64>>,
    /// Whether to stop, and whether a checkpoint is due, if ranks have agreed on it.
    pub agreed: Option<Agreed>,
}

/// The result of one batch.
pub(super) struct BatchResult<Stats> {
    pub index: usize,
    pub samples: Vec<usize>,
    /// The summands of the loss.
    pub parts: Vec<LossTerm>,
    /// The input of the meter.
    pub stats: Option<Stats>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Agreed {
    pub stop: bool,
    pub checkpoint_due: bool,
}

/// The rounds of a stage: of this process, or of several together.
pub(super) enum Rounds<'a> {
    Alone,
    Shared(SharedRounds<'a>),
}

impl<'a> Rounds<'a> {
    /// Takes the gradients of a step in progress, if a checkpoint has any.
    pub fn new<T: TrainTask>(
        context: &TrainContext<'a, T>,
        progress: &mut TrainProgress<T::Meter>,
    ) -> Result<Self> {
        match context.team.is_alone() {
            true => Ok(Self::Alone),
            false => Ok(Self::Shared(SharedRounds::new(context.team, progress)?)),
        }
    }

    /// The batches that this process computes of an epoch.
    pub fn share<T: TrainTask>(context: &TrainContext<T>, start: usize) -> BatchShare {
        let (team, step) = (context.team, context.settings.accumulate as usize);
        BatchShare::of_training(team.rank(), team.count(), start, step)
    }

    /// Computes the next batches from `next` on, and takes an optimizer step if they complete one. `None` at the end of
    /// the epoch.
    pub fn next<T: TrainTask>(
        &mut self,
        context: &TrainContext<T>,
        progress: &mut TrainProgress<T::Meter>,
        own: &mut std::iter::Peekable<Batches<'_, T::Targets>>,
        next: &mut usize,
        wishes: Agreed,
    ) -> Result<Option<Round<T::BatchStats>>> {
        match self {
            Self::Alone => alone(context, progress, own),
            Self::Shared(rounds) => rounds.next(context, progress, own, next, wishes),
        }
    }

    /// The gradients of a step in progress become those of `progress`: for the last step of an epoch, or a checkpoint.
    pub fn collect<M>(&self, progress: &mut TrainProgress<M>) -> Result<()> {
        match self {
            Self::Alone => Ok(()),
            Self::Shared(rounds) => rounds.collect(progress),
        }
    }

    /// After a checkpoint, the gradients of a step in progress stay with the ranks that add them.
    pub fn release<M>(&self, progress: &mut TrainProgress<M>) {
        if let Self::Shared(_) = self {
            (progress.gradients, progress.taught) = Default::default();
        }
    }

    /// A step was taken.
    pub fn reset(&mut self) {
        if let Self::Shared(rounds) = self {
            rounds.reset();
        }
    }
}

fn alone<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
    own: &mut std::iter::Peekable<Batches<'_, T::Targets>>,
) -> Result<Option<Round<T::BatchStats>>> {
    let Some(batch) = own.next().transpose()? else { return Ok(None) };
    let losses = compute(context, progress, &batch)?.count(progress)?;
    progress.batch = batch.index + 1;
    let whole = progress.batch.is_multiple_of(context.settings.accumulate as usize);
    let norm = if whole { optimizer_step(context, progress)? } else { None };
    // The host waits for a GPU only here, while the backward pass and the update are still queued.
    let (parts, stats) = losses.read()?;
    let batches = vec![BatchResult { index: batch.index, samples: batch.samples, parts, stats }];
    Ok(Some(Round { batches, norm, agreed: None }))
}
