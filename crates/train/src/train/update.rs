//! One optimizer step on one parameter: a single pass over its numbers, parallel over chunks.
//!
//! The formulas and their order of operations are PyTorch's (`torch/optim/sgd.py`, `adam.py`).

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::buffer::{TASK, build_along};
use crate::ops::float::{Float, by_dtype, tensor, with_slice, with_slice_mut};
use crate::ops::multiversion::multiversion;
use crate::ops::on_cuda::on_cuda;

/// What turns gradients into changes.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Sutskever et al., *On the Importance of Initialization and Momentum in Deep Learning* (ICML 2013), in the form
    /// where the learning rate scales the whole velocity.
    Sgd { momentum: f64, nesterov: bool },
    /// Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (ICLR 2019), algorithm 2.
    AdamW { betas: [f64; 2], eps: f64 },
}

/// What one step does with one parameter.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Counted from 1.
    pub step: u64,
    pub lr: f64,
    pub weight_decay: f64,
}

impl Rule {
    /// The names of the buffers that it keeps for each parameter, as PyTorch calls them.
    pub fn buffers(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["momentum_buffer"],
            Self::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// The parameter after the step. Its buffers, which start at zero, change in place; it does not,
    /// since whoever cloned it (a snapshot of the best epoch, the stage it came from) shares its memory.
    pub fn update(
        &self,
        value: &Tensor,
        gradient: &Tensor,
        buffers: &[Tensor],
        pace: Pace,
    ) -> Result<Tensor> {
        let fits = buffers.len() == self.buffers().len()
            && buffers.iter().chain([gradient]).all(|tensor| tensor.dims() == value.dims());
        if !fits {
            return Err(Error::bug("a parameter, its gradient and its optimizer state do not fit"));
        }
        on_cuda!(value, self.update_on_cuda(value, gradient, buffers, pace));
        by_dtype!(value, T => self.update_in::<T>(value, gradient, buffers, pace))
    }

    fn update_in<T: Float>(
        &self,
        value: &Tensor,
        gradient: &Tensor,
        buffers: &[Tensor],
        pace: Pace,
    ) -> Result<Tensor> {
        let Pace { lr, weight_decay, .. } = pace;
        let changed = with_slice(value, |value: &[T]| {
            with_slice(gradient, |gradient: &[T]| match (*self, buffers) {
                (Self::AdamW { betas, eps }, [mean, square]) => {
                    let factors = AdamW::new(betas, eps, pace).map(T::from_f64);
                    with_slice_mut(mean, |mean: &mut [T]| {
                        with_slice_mut(square, |square| adamw(value, gradient, mean, square, &factors))
                    })?
                }
                (Self::Sgd { momentum, nesterov }, [velocity]) => {
                    let factors = [momentum, weight_decay, lr].map(T::from_f64);
                    with_slice_mut(velocity, |velocity| sgd(value, gradient, velocity, factors, nesterov))
                }
                _ => Ok(plain_sgd(value, gradient, [weight_decay, lr].map(T::from_f64))),
            })
        })???;
        tensor(changed, value.shape())
    }
}

fn plain_sgd<T: Float>(value: &[T], gradient: &[T], factors: [T; 2]) -> Vec<T> {
    let along = value.par_chunks(TASK).zip(gradient.par_chunks(TASK));
    let write =
        |(value, gradient): (&[T], &[T]), out: &mut [_]| plain_sgd_chunk(value, gradient, factors, out);
    // SAFETY: the kernel writes every number.
    unsafe { build_along(value.len(), TASK, along, write) }
}

multiversion! {
    fn plain_sgd_chunk<T: Float>(value: &[T], gradient: &[T], factors: [T; 2], out: &mut [MaybeUninit<T>]) {
        let [weight_decay, lr] = factors;
        assert!(value.len() == out.len() && gradient.len() == out.len());
        for ((out, value), gradient) in out.iter_mut().zip(value).zip(gradient) {
            let gradient = *gradient + *value * weight_decay;
            out.write(*value - lr * gradient);
        }
    }
}

fn sgd<T: Float>(value: &[T], gradient: &[T], velocity: &mut [T], factors: [T; 3], nesterov: bool) -> Vec<T> {
    let along = value.par_chunks(TASK).zip(gradient.par_chunks(TASK)).zip(velocity.par_chunks_mut(TASK));
    let write = |((value, gradient), velocity): ((&[T], &[T]), &mut [T]), out: &mut [_]| {
        sgd_chunk(value, gradient, velocity, factors, nesterov, out);
    };
    // SAFETY: the kernel writes every number.
    unsafe { build_along(value.len(), TASK, along, write) }
}

multiversion! {
    fn sgd_chunk<T: Float>(
        value: &[T],
        gradient: &[T],
        velocity: &mut [T],
        factors: [T; 3],
        nesterov: bool,
        out: &mut [MaybeUninit<T>],
    ) {
        let [momentum, weight_decay, lr] = factors;
        assert!([value.len(), gradient.len(), velocity.len()] == [out.len(); 3]);
        for (((out, value), gradient), velocity) in out.iter_mut().zip(value).zip(gradient).zip(velocity) {
            let gradient = *gradient + *value * weight_decay;
            *velocity = *velocity * momentum + gradient;
            let step = if nesterov { gradient + momentum * *velocity } else { *velocity };
            out.write(*value - lr * step);
        }
    }
}

/// What one step of AdamW multiplies and divides by, the same for all numbers of a parameter.
#[repr(C)]
#[derive(Clone, Copy)]
struct AdamW<T> {
    shrink: T,
    mean_step: T,
    square_decay: T,
    square_step: T,
    size: T,
    root_correction: T,
    eps: T,
}

impl AdamW<f64> {
    fn new([first, second]: [f64; 2], eps: f64, pace: Pace) -> Self {
        let Pace { step, lr, weight_decay } = pace;
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

    fn map<T>(&self, narrow: impl Fn(f64) -> T) -> AdamW<T> {
        AdamW {
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
    factors: &AdamW<T>,
) -> Vec<T> {
    let inputs = value.par_chunks(TASK).zip(gradient.par_chunks(TASK));
    let along = inputs.zip(mean.par_chunks_mut(TASK)).zip(square.par_chunks_mut(TASK));
    let along = along.map(|(((value, gradient), mean), square)| (value, gradient, mean, square));
    let write = |(value, gradient, mean, square): (&[T], &[T], &mut [T], &mut [T]), out: &mut [_]| {
        adamw_chunk(value, gradient, mean, square, factors, out);
    };
    // SAFETY: the kernel writes every number.
    unsafe { build_along(value.len(), TASK, along, write) }
}

multiversion! {
    fn adamw_chunk<T: Float>(
        value: &[T],
        gradient: &[T],
        mean: &mut [T],
        square: &mut [T],
        factors: &AdamW<T>,
        out: &mut [MaybeUninit<T>],
    ) {
        let &AdamW { shrink, mean_step, square_decay, square_step, size, root_correction, eps } = factors;
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
