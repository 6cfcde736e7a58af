//! AdamW, in the order of operations of PyTorch's `torch/optim/adam.py`.
//!
//! Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (ICLR 2019), algorithm 2.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::{Tensor, WithDType};
use rayon::prelude::*;

use super::{StepHyper, UpdateRule};
use crate::error::{Error, Result};
use crate::ops::buffer::{ELEMENTS_PER_TASK, build_along};
use crate::ops::float::{Float, by_dtype, tensor, with_slice, with_slice_mut};
use crate::ops::multiversion::multiversion;
use crate::ops::on_cuda::on_cuda;
use crate::pipeline::AdamW;

impl UpdateRule for AdamW {
    fn buffers(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn step(&self, value: &Tensor, gradient: &Tensor, buffers: &[Tensor], pace: StepHyper) -> Result<Tensor> {
        Factors::new(self.betas, self.eps, pace).step(value, gradient, buffers)
    }
}

/// What one step of AdamW multiplies and divides by, the same for all numbers of a parameter.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Factors<T> {
    shrink: T,
    mean_step: T,
    square_decay: T,
    square_step: T,
    size: T,
    root_correction: T,
    eps: T,
}

impl Factors<f64> {
    pub fn new([first, second]: [f64; 2], eps: f64, pace: StepHyper) -> Self {
        let StepHyper { step, lr, weight_decay, .. } = pace;
        let correction = |beta: f64| 1.0 - libm::pow(beta, step as f64);
        Self {
            shrink: 1.0 - lr * weight_decay,
            mean_step: 1.0 - first,
            square_decay: second,
            square_step: 1.0 - second,
            size: lr / correction(first),
            root_correction: correction(second).sqrt(),
            eps,
        }
    }

    /// The parameter after the step; the two running averages change in place.
    pub fn step(&self, value: &Tensor, gradient: &Tensor, buffers: &[Tensor]) -> Result<Tensor> {
        let [mean, square] = buffers else { return Err(Error::bug("an Adam without its two buffers")) };
        on_cuda!(value, cuda::step(self, value, gradient, [mean, square]));
        by_dtype!(value, T => {
            let factors = self.map(T::from_f64);
            let changed = with_slice(value, |value: &[T]| {
                with_slice(gradient, |gradient: &[T]| {
                    with_slice_mut(mean, |mean: &mut [T]| {
                        with_slice_mut(square, |square| adamw(value, gradient, mean, square, &factors))
                    })
                })
            })????;
            tensor(changed, value.shape())
        })
    }

    fn map<T>(&self, narrow: impl Fn(f64) -> T) -> Factors<T> {
        Factors {
            shrink: narrow(self.shrink),
            mean_step: narrow(self.mean_step),
            square_decay: narrow(self.square_decay),
            square_step: narrow(self.square_step),
            size: narrow(self.size),
            root_correction: narrow(self.root_correction),
            eps: narrow(self.eps),
        }
    }
}

fn adamw<T: Float>(
    value: &[T],
    gradient: &[T],
    mean: &mut [T],
    square: &mut [T],
    factors: &Factors<T>,
) -> Vec<T> {
    let inputs = value.par_chunks(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
    let along =
        inputs.zip(mean.par_chunks_mut(ELEMENTS_PER_TASK)).zip(square.par_chunks_mut(ELEMENTS_PER_TASK));
    let along = along.map(|(((value, gradient), mean), square)| (value, gradient, mean, square));
    let write = |(value, gradient, mean, square): (&[T], &[T], &mut [T], &mut [T]), out: &mut [_]| {
        adamw_chunk(value, gradient, mean, square, factors, out);
    };
    // SAFETY: the kernel writes every element.
    unsafe { build_along(value.len(), ELEMENTS_PER_TASK, along, write) }
}

multiversion! {
    fn adamw_chunk<T: Float>(
        value: &[T],
        gradient: &[T],
        mean: &mut [T],
        square: &mut [T],
        factors: &Factors<T>,
        out: &mut [MaybeUninit<T>],
    ) {
        let &Factors { shrink, mean_step, square_decay, square_step, size, root_correction, eps } = factors;
        assert!([value.len(), gradient.len(), mean.len(), square.len()] == [out.len(); 4]);
        let buffers = mean.iter_mut().zip(square);
        for (((out, value), gradient), (mean, square)) in out.iter_mut().zip(value).zip(gradient).zip(buffers) {
            *mean += mean_step * (*gradient - *mean);
            *square = *square * square_decay + square_step * *gradient * *gradient;
            let denominator = square.square_root() / root_correction + eps;
            out.write(*value * shrink - size * *mean / denominator);
        }
    }
}
