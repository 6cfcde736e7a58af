//! Shared code of losses over classes: each row of scores against one class or a mixture of two, averaged.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::deferred::Deferred;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// The target of an image: two classes and the share of the first. An unmixed image has share 1 of the first
/// class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    pub classes: [u32; 2],
    /// From 0 to 1; the second class has the remainder.
    pub share: f64,
}

impl Mixture {
    /// A single class.
    pub fn single(class: u32) -> Self {
        Self { classes: [class; 2], share: 1.0 }
    }

    /// The class with the larger share; the first if they are equal.
    pub fn majority(&self) -> u32 {
        self.classes[usize::from(self.share < 0.5)]
    }

    /// The classes with their shares, without zero shares.
    fn parts(&self) -> impl Iterator<Item = (usize, f64)> {
        let parts = [(self.classes[0], self.share), (self.classes[1], 1.0 - self.share)];
        parts.into_iter().filter(|(_, share)| *share > 0.0).map(|(class, share)| (class as usize, share))
    }
}

/// A loss of one row of scores against one class.
pub trait ClassLoss: Sync {
    /// The weight of a row of this class in the mean.
    fn weight(&self, class: usize) -> f64;

    /// The loss of `scores` [K], multiplied by the weight of the class. Adds `share` times its gradient to
    /// `gradient` [K], unless that is empty.
    fn loss(&self, scores: &[f64], class: usize, share: f64, gradient: &mut [f64]) -> f64;

    /// The parameters of the GPU kernel.
    #[cfg(feature = "cuda")]
    fn kernel(&self) -> cuda::LossKernel<'_>;
}

/// The loss of a batch.
pub struct WeightedLoss {
    /// Σ losses / Σ weights, as PyTorch's weighted mean: a scalar on the tape.
    pub mean: Value,
    /// The loss of each row, weighted.
    pub rows: Deferred<f64>,
    /// The weight of each row.
    pub weights: Vec<f64>,
}

/// The loss of scores [N, K] against one target per row. The loss of a mixture is the average of its classes'
/// losses by share.
///
/// Computed in f64 for every type of scores. A loss that is not finite is returned unchanged.
pub fn class_loss(
    tape: &mut Tape,
    scores: &Value,
    targets: &[Mixture],
    loss: &dyn ClassLoss,
) -> Result<WeightedLoss> {
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
        Ok(WeightedLoss { mean, rows: rows.deferred()?, weights })
    });
    by_dtype!(scores.tensor(), T => {
        let (mean, rows) = forward::<T>(tape, scores, targets, loss, part)?;
        Ok(WeightedLoss { mean, rows: Deferred::ready(rows), weights })
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
    Ok((tape.record(&[scores], mean, || SavedGradient { gradient }), losses))
}

/// Only the gradient is saved for the backward pass. Computing it costs almost nothing compared with the loss.
pub(super) struct SavedGradient {
    pub gradient: Tensor,
}

impl Backward for SavedGradient {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(scaled_gradient(&self.gradient, &grad)?)])
    }
}

/// A saved gradient times that of the loss, a scalar.
pub(super) fn scaled_gradient(gradient: &Tensor, grad: &Tensor) -> Result<Tensor> {
    on_cuda!(grad, cuda::scaled(gradient, grad));
    Ok(gradient.broadcast_mul(grad)?)
}
