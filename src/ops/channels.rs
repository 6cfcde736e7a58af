//! The loops under batch normalisation: rows of numbers, one column for each channel, vectorised over channels.
//!
//! Each handles the rows of one task. What they sum within a task is in the working type; tasks are joined in f64.

use std::mem::MaybeUninit;

use super::float::Float;
use super::multiversion::multiversion;

/// One task's sums over its rows, per channel, around a shift close to the task's mean.
///
/// The corrected two-pass algorithm of Chan, Golub and LeVeque, *Algorithms for Computing the Sample Variance*
/// (1983), eq. 1.7: the second pass, over rows still in the cache, takes out the rounding of the first.
pub struct Moments<T> {
    pub rows: usize,
    pub shift: Vec<T>,
    /// Σ (x − shift)
    pub sum: Vec<T>,
    /// Σ (x − shift)²
    pub square: Vec<T>,
}

multiversion! {
    pub fn moments<T: Float>(x: &[T], channels: usize) -> Moments<T> {
        let rows = x.len() / channels;
        let mut shift = vec![T::ZERO; channels];
        for row in x.chunks_exact(channels) {
            for (shift, x) in shift.iter_mut().zip(row) {
                *shift += *x;
            }
        }
        let count = T::from_f64(rows as f64);
        for shift in &mut shift {
            *shift = *shift / count;
        }
        let (mut sum, mut square) = (vec![T::ZERO; channels], vec![T::ZERO; channels]);
        for row in x.chunks_exact(channels) {
            let (shift, sum, square) = (&shift[..channels], &mut sum[..channels], &mut square[..channels]);
            for channel in 0..channels {
                let deviation = row[channel] - shift[channel];
                sum[channel] += deviation;
                square[channel] += deviation * deviation;
            }
        }
        Moments { rows, shift, sum, square }
    }
}

/// Joins the moments of all tasks, in their order: mean and Σ (x − mean)², per channel (ibid., eq. 2.1).
pub fn join_moments<T: Float>(tasks: &[Moments<T>], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut mean, mut square) = (vec![0.0; channels], vec![0.0; channels]);
    let mut seen = 0.0;
    for task in tasks {
        let rows = task.rows as f64;
        for channel in 0..channels {
            let sum = task.sum[channel].to_f64();
            let task_mean = task.shift[channel].to_f64() + sum / rows;
            let task_square = task.square[channel].to_f64() - sum * sum / rows;
            let step = task_mean - mean[channel];
            mean[channel] += step * (rows / (seen + rows));
            square[channel] += task_square + step * step * (seen * rows / (seen + rows));
        }
        seen += rows;
    }
    (mean, square)
}

/// Per channel, y = (x − centre) · scale + offset. Subtracting first keeps what a product with a large mean would lose.
pub struct Affine<T> {
    pub centre: Vec<T>,
    pub scale: Vec<T>,
    pub offset: Vec<T>,
}

multiversion! {
    /// out = clamp(affine(x) + residual), NaN passing through.
    pub fn normalize<T: Float>(
        x: &[T],
        residual: Option<&[T]>,
        affine: &Affine<T>,
        bounds: (T, T),
        out: &mut [MaybeUninit<T>],
    ) {
        let channels = affine.centre.len();
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        let rows = x.chunks_exact(channels).zip(out.chunks_exact_mut(channels));
        if let Some(residual) = residual {
            for ((x, out), residual) in rows.zip(residual.chunks_exact(channels)) {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(clamp(y + residual[channel], bounds));
                }
            }
        } else {
            for (x, out) in rows {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(clamp(y, bounds));
                }
            }
        }
    }
}

/// max(low, min(high, x)), but a NaN stays one: hiding it would hide that training has failed.
#[inline(always)]
pub fn clamp<T: Float>(x: T, (low, high): (T, T)) -> T {
    let x = if x < low { low } else { x };
    if high < x { high } else { x }
}

/// The gradient before a clamp, given its output: nothing flows where it clamped.
#[inline(always)]
pub fn unclamp<T: Float>(grad: T, output: T, (low, high): (T, T)) -> T {
    if low < output && output < high { grad } else { T::ZERO }
}

/// One task's sums over its rows, per channel, of what batch normalisation's gradients are made of.
pub struct GradientSums<T> {
    /// Σ grad
    pub grad: Vec<T>,
    /// Σ grad · (x − centre)
    pub product: Vec<T>,
}

multiversion! {
    /// `grad` is that of the output before any clamp.
    pub fn gradient_sums<T: Float>(grad: &[T], x: &[T], centre: &[T]) -> GradientSums<T> {
        let channels = centre.len();
        let (mut sums, mut products) = (vec![T::ZERO; channels], vec![T::ZERO; channels]);
        for (grad, x) in grad.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            let (centre, sums, products) = (&centre[..channels], &mut sums[..channels], &mut products[..channels]);
            for channel in 0..channels {
                sums[channel] += grad[channel];
                products[channel] += grad[channel] * (x[channel] - centre[channel]);
            }
        }
        GradientSums { grad: sums, product: products }
    }
}

/// Joins the sums of all tasks, in their order.
pub fn join_gradient_sums<T: Float>(tasks: &[GradientSums<T>], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut grad, mut product) = (vec![0.0; channels], vec![0.0; channels]);
    for task in tasks {
        for channel in 0..channels {
            grad[channel] += task.grad[channel].to_f64();
            product[channel] += task.product[channel].to_f64();
        }
    }
    (grad, product)
}

multiversion! {
    /// out = the gradient before a clamp, given that of its output and the output.
    pub fn unclamp_all<T: Float>(grad: &[T], output: &[T], bounds: (T, T), out: &mut [MaybeUninit<T>]) {
        for ((out, grad), output) in out.iter_mut().zip(grad).zip(output) {
            out.write(unclamp(*grad, *output, bounds));
        }
    }
}

multiversion! {
    /// grad ← affine.scale · grad + slope · (x − affine.centre) + affine.offset, per channel.
    pub fn training_gradient<T: Float>(grad: &mut [T], x: &[T], affine: &Affine<T>, slope: &[T]) {
        let channels = affine.centre.len();
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        let slope = &slope[..channels];
        for (grad, x) in grad.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for channel in 0..channels {
                let through_statistics = slope[channel] * (x[channel] - centre[channel]) + offset[channel];
                grad[channel] = scale[channel] * grad[channel] + through_statistics;
            }
        }
    }
}

multiversion! {
    /// grad ← scale · grad, per channel.
    pub fn frozen_gradient<T: Float>(grad: &mut [T], scale: &[T]) {
        let channels = scale.len();
        for grad in grad.chunks_exact_mut(channels) {
            for channel in 0..channels {
                grad[channel] = scale[channel] * grad[channel];
            }
        }
    }
}
