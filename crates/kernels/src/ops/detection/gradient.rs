//! The backward pass. Only assigned anchor points have saved gradients; those of classes are recomputed.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::anchors::Anchors;
use super::positive::Positive;
use crate::autograd::Backward;
use crate::error::Result;
use crate::ops::buffer::{ELEMENTS_PER_TASK, build};
use crate::ops::float::{Float, by_dtype, tensor, to_f64, with_slice};
use crate::ops::multiversion::multiversion;

/// The gradient for the box logits and class logits of each level, in turn.
pub struct LossGradient {
    pub anchors: Anchors,
    pub class_logits: Vec<Tensor>,
    /// Of all images, in order.
    pub positives: Vec<Positive>,
    /// The gain of the class term over the batch's divisor.
    pub class_factor: f64,
    /// 1 over the divisor: slopes contain their gains.
    pub box_factor: f64,
}

impl Backward for LossGradient {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let scale = to_f64(&grad)?.iter().sum::<f64>();
        let of_input = |(input, wanted): (usize, &bool)| {
            if !wanted {
                return Ok(None);
            }
            let level = input / 2;
            by_dtype!(grad, T => match input % 2 {
                0 => self.of_boxes::<T>(level, scale * self.box_factor).map(Some),
                _ => self.of_classes::<T>(level, scale * self.class_factor).map(Some),
            })
        };
        wanted.iter().enumerate().map(of_input).collect()
    }
}

impl LossGradient {
    fn of_boxes<T: Float>(&self, level: usize, factor: f64) -> Result<Tensor> {
        let (grid, width) = (&self.anchors.grids[level], 4 * self.anchors.bins);
        let mut gradient = vec![T::ZERO; self.anchors.images * grid.cells() * width];
        for (positive, row) in self.positives_of(level) {
            for (gradient, slope) in gradient[row * width..].iter_mut().zip(&positive.slopes) {
                *gradient = T::from_f64(slope * factor);
            }
        }
        tensor(gradient, (self.anchors.images, grid.height, grid.width, width))
    }

    fn of_classes<T: Float>(&self, level: usize, factor: f64) -> Result<Tensor> {
        let logits = &self.class_logits[level];
        let mut gradient = with_slice(logits, |logits: &[T]| {
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                let logits = &logits[task * ELEMENTS_PER_TASK..][..out.len()];
                scaled_sigmoids(logits, T::from_f64(factor), out);
            };
            // SAFETY: `scaled_sigmoids` writes every element.
            unsafe { build(logits.len(), ELEMENTS_PER_TASK, write) }
        })?;
        for (positive, row) in self.positives_of(level) {
            let difference = Float::sigmoid(positive.class_logit) - positive.score;
            gradient[row * self.anchors.classes + positive.class] = T::from_f64(difference * factor);
        }
        tensor(gradient, logits.shape())
    }

    /// The assigned anchor points of a level, each with its row among the cells of all images.
    fn positives_of(&self, level: usize) -> impl Iterator<Item = (&Positive, usize)> {
        let cells = self.anchors.grids[level].cells();
        self.positives.iter().filter_map(move |positive| {
            let (own, cell) = self.anchors.locate(positive.anchor);
            (own == level).then_some((positive, positive.image * cells + cell))
        })
    }
}

multiversion! {
    /// The gradient of binary cross-entropy against 0.
    fn scaled_sigmoids<T: Float>(logits: &[T], factor: T, out: &mut [MaybeUninit<T>]) {
        for (logit, out) in logits.iter().zip(out) {
            out.write(logit.sigmoid() * factor);
        }
    }
}
