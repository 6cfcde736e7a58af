//! What the losses over classes share: rows of scores against one class each, or against a mixture of two, averaged.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::float::{Float, by_dtype, tensor, with_slice};
use super::later::Later;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// What an image shows: two classes and the share of the first. One that was not mixed of two is all of the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    pub classes: [u32; 2],
    /// From 0 to 1; the second class has the rest.
    pub share: f64,
}

impl Mixture {
    /// All of one class.
    pub fn of(class: u32) -> Self {
        Self { classes: [class; 2], share: 1.0 }
    }

    /// The class with the greater share; the first of equals.
    pub fn most(&self) -> u32 {
        self.classes[usize::from(self.share < 0.5)]
    }

    /// Classes and shares, those without a share left out.
    fn parts(&self) -> impl Iterator<Item = (usize, f64)> {
        let parts = [(self.classes[0], self.share), (self.classes[1], 1.0 - self.share)];
        parts.into_iter().filter(|(_, share)| *share > 0.0).map(|(class, share)| (class as usize, share))
    }
}

/// A loss of one row of scores against one class.
pub trait ClassLoss: Sync {
    /// What a row of this class counts in the mean.
    fn weight(&self, class: usize) -> f64;

    /// The loss of `scores` [K], times the weight of its class; `share` times its gradient is added to `gradient` [K],
    /// unless that is empty.
    fn loss(&self, scores: &[f64], class: usize, share: f64, gradient: &mut [f64]) -> f64;

    /// The same on a GPU.
    #[cfg(feature = "cuda")]
    fn kernel(&self) -> cuda::Kernel<'_>;
}

/// A loss over a batch.
pub struct Losses {
    /// Σ losses / Σ weights, as PyTorch's weighted mean: a scalar on the tape.
    pub mean: Value,
    /// Of each row, its weight included.
    pub rows: Later<f64>,
    /// What each row counts.
    pub weights: Vec<f64>,
}

/// The loss of scores [N, K] against a target for each row. A mixture's loss is that of its classes by their shares.
///
/// Computed in f64 whatever the scores are. A loss that is not finite is returned as it is.
pub fn class_loss(
    tape: &mut Tape,
    scores: &Value,
    targets: &[Mixture],
    loss: &dyn ClassLoss,
) -> Result<Losses> {
    let (rows, classes) = scores.tensor().dims2()?;
    let fits = |target: &Mixture| {
        (0.0..=1.0).contains(&target.share) && target.classes.iter().all(|class| (*class as usize) < classes)
    };
    if rows == 0 || rows != targets.len() || !targets.iter().all(fits) {
        let targets = targets.len();
        return Err(Error::bug(format!("{targets} targets for {rows} rows of {classes} scores")));
    }
    let weight = |target: &Mixture| target.parts().map(|(class, share)| share * loss.weight(class)).sum();
    let weights: Vec<f64> = targets.iter().map(weight).collect();
    let part = 1.0 / weights.iter().sum::<f64>();
    on_cuda!(scores.tensor(), {
        let (mean, rows) = cuda::against_mixtures(tape, scores, targets, loss, part)?;
        Ok(Losses { mean, rows: rows.later()?, weights })
    });
    by_dtype!(scores.tensor(), T => {
        let (mean, rows) = forward::<T>(tape, scores, targets, loss, part)?;
        Ok(Losses { mean, rows: Later::here(rows), weights })
    })
}

/// The mean loss, and each row's.
fn forward<T: Float>(
    tape: &mut Tape,
    scores: &Value,
    targets: &[Mixture],
    loss: &dyn ClassLoss,
    part: f64,
) -> Result<(Value, Vec<f64>)> {
    let (rows, classes) = scores.tensor().dims2()?;
    let width = if scores.is_constant() { 0 } else { classes };
    let (losses, gradient): (Vec<f64>, Vec<Vec<T>>) = with_slice(scores.tensor(), |scores: &[T]| {
        let rows = scores.par_chunks(classes).zip(targets);
        let both = rows.map(|(row, target)| {
            let row: Vec<f64> = row.iter().map(|score| score.widen()).collect();
            let mut gradient = vec![0.0; width];
            let one = |(class, share)| share * loss.loss(&row, class, share, &mut gradient);
            let loss = target.parts().map(one).sum::<f64>();
            (loss, gradient.iter().map(|gradient| T::from_f64(gradient * part)).collect())
        });
        both.unzip()
    })?;
    let mean = Tensor::new(T::from_f64(losses.iter().sum::<f64>() * part), &Device::Cpu)?;
    let gradient = tensor(gradient.concat(), (if width == 0 { 0 } else { rows }, classes))?;
    Ok((tape.record(&[scores], mean, || ByGradient { gradient }), losses))
}

/// The gradient is all that the backward pass needs, and costs next to nothing beside the loss.
pub(super) struct ByGradient {
    pub gradient: Tensor,
}

impl Backward for ByGradient {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, Ok(vec![Some(cuda::scaled(&self.gradient, &grad)?)]));
        Ok(vec![Some(self.gradient.broadcast_mul(&grad)?)])
    }
}
