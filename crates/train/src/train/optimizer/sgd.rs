//! SGD with momentum, in the order of operations of PyTorch's `torch/optim/sgd.py`.
//!
//! Sutskever et al., *On the Importance of Initialization and Momentum in Deep Learning* (ICML 2013), in the form where the
//! learning rate scales the whole velocity.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::{Tensor, WithDType};
use rayon::prelude::*;

use super::{StepHyper, UpdateRule};
use crate::error::Result;
use crate::ops::buffer::{ELEMENTS_PER_TASK, build_along};
use crate::ops::float::{Float, by_dtype, tensor, with_slice, with_slice_mut};
use crate::ops::multiversion::multiversion;
use crate::ops::on_cuda::on_cuda;
use crate::pipeline::Sgd;

impl UpdateRule for Sgd {
    fn buffers(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum_buffer"] }
    }

    fn step(&self, value: &Tensor, gradient: &Tensor, buffers: &[Tensor], pace: StepHyper) -> Result<Tensor> {
        on_cuda!(value, cuda::step(self, value, gradient, buffers, pace));
        by_dtype!(value, T => {
            let changed = with_slice(value, |value: &[T]| {
                with_slice(gradient, |gradient: &[T]| match buffers {
                    [velocity] => {
                        let momentum = pace.momentum.unwrap_or(self.momentum);
                        let factors = [momentum, pace.weight_decay, pace.lr].map(T::from_f64);
                        with_slice_mut(velocity, |velocity| {
                            sgd(value, gradient, velocity, factors, self.nesterov)
                        })
                    }
                    _ => Ok(plain_sgd(value, gradient, [pace.weight_decay, pace.lr].map(T::from_f64))),
                })
            })???;
            tensor(changed, value.shape())
        })
    }
}

fn plain_sgd<T: Float>(value: &[T], gradient: &[T], factors: [T; 2]) -> Vec<T> {
    let along = value.par_chunks(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
    let write =
        |(value, gradient): (&[T], &[T]), out: &mut [_]| plain_sgd_chunk(value, gradient, factors, out);
    // SAFETY: the kernel writes every element.
    unsafe { build_along(value.len(), ELEMENTS_PER_TASK, along, write) }
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
    let along = value
        .par_chunks(ELEMENTS_PER_TASK)
        .zip(gradient.par_chunks(ELEMENTS_PER_TASK))
        .zip(velocity.par_chunks_mut(ELEMENTS_PER_TASK));
    let write = |((value, gradient), velocity): ((&[T], &[T]), &mut [T]), out: &mut [_]| {
        sgd_chunk(value, gradient, velocity, factors, nesterov, out);
    };
    // SAFETY: the kernel writes every element.
    unsafe { build_along(value.len(), ELEMENTS_PER_TASK, along, write) }
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
