//! Arithmetic over whole weight or gradient tensors, in parallel; the shape alone decides the split.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use std::mem::MaybeUninit;

use candle_core::{Tensor, WithDType};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::buffer::{ELEMENTS_PER_TASK, build_along};
use crate::ops::float::{Float, by_dtype, tensor, with_slice};
use crate::ops::multiversion::multiversion;
use crate::ops::on_cuda::on_cuda;

/// from + share · (to − from): exactly `from` if the two are equal.
pub fn blend(from: &Tensor, to: &Tensor, share: f64) -> Result<Tensor> {
    if from.dims() != to.dims() || from.dtype() != to.dtype() {
        return Err(Error::bug("two tensors to be blended do not fit"));
    }
    on_cuda!(from, cuda::blend(from, to, share));
    by_dtype!(from, T => {
        let blended = with_slice(from, |from: &[T]| with_slice(to, |to: &[T]| {
            let along = from.par_chunks(ELEMENTS_PER_TASK).zip(to.par_chunks(ELEMENTS_PER_TASK));
            let share = T::from_f64(share);
            let write = |(from, to): (&[T], &[T]), out: &mut [_]| blend_chunk(from, to, share, out);
            // SAFETY: the kernel writes every element.
            unsafe { build_along(from.len(), ELEMENTS_PER_TASK, along, write) }
        }))??;
        tensor(blended, from.shape())
    })
}

multiversion! {
    fn blend_chunk<T: Float>(from: &[T], to: &[T], share: T, out: &mut [MaybeUninit<T>]) {
        assert!(from.len() == out.len() && to.len() == out.len());
        for ((out, from), to) in out.iter_mut().zip(from).zip(to) {
            out.write(*from + share * (*to - *from));
        }
    }
}

/// factor · x.
pub fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    on_cuda!(x, crate::cuda::scaled(x, factor));
    by_dtype!(x, T => {
        let scaled = with_slice(x, |x: &[T]| {
            let factor = T::from_f64(factor);
            let write = |x: &[T], out: &mut [_]| scale_chunk(x, factor, out);
            // SAFETY: the kernel writes every element.
            unsafe { build_along(x.len(), ELEMENTS_PER_TASK, x.par_chunks(ELEMENTS_PER_TASK), write) }
        })?;
        tensor(scaled, x.shape())
    })
}

multiversion! {
    fn scale_chunk<T: Float>(x: &[T], factor: T, out: &mut [MaybeUninit<T>]) {
        assert!(x.len() == out.len());
        for (out, x) in out.iter_mut().zip(x) {
            out.write(*x * factor);
        }
    }
}

/// Σ x², in f64, of a host tensor.
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    by_dtype!(x, T => with_slice(x, |x: &[T]| {
        let parts: Vec<f64> = x.par_chunks(ELEMENTS_PER_TASK).map(squares_chunk).collect();
        parts.iter().sum()
    }))
}

/// The number of independent sums, so that the loop vectorises.
const LANES: usize = 16;

multiversion! {
    fn squares_chunk<T: Float>(x: &[T]) -> f64 {
        let mut lanes = [0f64; LANES];
        let chunks = x.chunks_exact(LANES);
        let rest: f64 = chunks.remainder().iter().map(|x| x.widen() * x.widen()).sum();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += x.widen() * x.widen();
            }
        }
        lanes.iter().sum::<f64>() + rest
    }
}
