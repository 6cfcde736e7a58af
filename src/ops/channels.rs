//! The loops under batch normalisation: rows of numbers, one column for each channel, vectorised over channels.
//!
//! Each handles the rows of one task. What they sum is joined in the order of the tasks.

use std::mem::MaybeUninit;

use super::curve::{Activation, Curve};
use super::float::Float;
use super::multiversion::multiversion;
use super::vector::{Vector, Vectorised, load, store};

/// Two sums per channel. In f64, so that neither the number of rows nor where they are cut costs digits; the loops wait
/// for memory either way.
pub struct Sums {
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

impl Sums {
    pub fn zero(channels: usize) -> Self {
        Self { first: vec![0.0; channels], second: vec![0.0; channels] }
    }

    /// Adds up the sums of all tasks, in their order.
    pub fn total(tasks: impl IntoIterator<Item = Self>, channels: usize) -> Self {
        let mut total = Self::zero(channels);
        for task in tasks {
            for channel in 0..channels {
                total.first[channel] += task.first[channel];
                total.second[channel] += task.second[channel];
            }
        }
        total
    }
}

multiversion! {
    /// Σ (x − shift) and Σ (x − shift)². With any number of the channel as its shift, the variance loses nothing to the
    /// mean's size (Chan, Golub and LeVeque, *Algorithms for Computing the Sample Variance*, 1983, §3).
    pub fn moments<T: Float>(x: &[T], shift: &[T]) -> Sums {
        let channels = shift.len();
        let (mut first, mut second) = (vec![0.0; channels], vec![0.0; channels]);
        for x in x.chunks_exact(channels) {
            let (shift, first, second) = (&shift[..channels], &mut first[..channels], &mut second[..channels]);
            for channel in 0..channels {
                let deviation = x[channel].widen() - shift[channel].widen();
                first[channel] += deviation;
                second[channel] += deviation * deviation;
            }
        }
        Sums { first, second }
    }
}

/// Per channel, y = (x − centre) · scale + offset. Subtracting first keeps what a product with a large mean would lose.
pub struct Affine<T> {
    pub centre: Vec<T>,
    pub scale: Vec<T>,
    pub offset: Vec<T>,
}

/// [`normalize`] for a clamp, with the same bits, of rows that the caches will not keep until they are read again.
pub struct NormalizeClamped<'a, T> {
    pub x: &'a [T],
    pub residual: Option<&'a [T]>,
    pub affine: &'a Affine<T>,
    pub activation: Activation,
    pub out: &'a mut [MaybeUninit<T>],
}

impl<T: Float> Vectorised for NormalizeClamped<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self) {
        let Self { x, residual, affine: Affine { centre, scale, offset }, activation, out } = self;
        let channels = centre.len();
        assert!(scale.len() == channels && offset.len() == channels && out.len() == x.len());
        assert!(
            x.len().is_multiple_of(channels) && residual.is_none_or(|residual| residual.len() == x.len())
        );
        let out = out.as_mut_ptr().cast::<T>();
        let stream = channels.is_multiple_of(V::LANES) && out.addr().is_multiple_of(size_of::<V>());
        for row in (0..x.len()).step_by(channels) {
            let mut channel = 0;
            while channel < channels {
                let (count, at) = (V::LANES.min(channels - channel), row + channel);
                // SAFETY: `count` channels are left in the row, and all slices hold as many rows or one; where results
                // are streamed, rows start at multiples of the vector's size.
                unsafe {
                    let deviation =
                        load::<V>(x.as_ptr().add(at), count).sub(load(centre.as_ptr().add(channel), count));
                    let mut y = deviation
                        .mul(load(scale.as_ptr().add(channel), count))
                        .add(load(offset.as_ptr().add(channel), count));
                    if let Some(residual) = residual {
                        y = y.add(load(residual.as_ptr().add(at), count));
                    }
                    let y = match activation {
                        Activation::Relu => Activation::Relu.of(y),
                        Activation::Relu6 => Activation::Relu6.of(y),
                        _ => y,
                    };
                    if stream { y.stream(out.add(at)) } else { store(y, out.add(at), count) }
                }
                channel += count;
            }
        }
        V::fence();
    }
}

multiversion! {
    /// out = curve(affine(x) + residual).
    pub fn normalize<T: Float, C: Curve<T>>(
        x: &[T],
        residual: Option<&[T]>,
        affine: &Affine<T>,
        curve: C,
        out: &mut [MaybeUninit<T>],
    ) {
        let channels = affine.centre.len();
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        let rows = x.chunks_exact(channels).zip(out.chunks_exact_mut(channels));
        if let Some(residual) = residual {
            for ((x, out), residual) in rows.zip(residual.chunks_exact(channels)) {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(curve.value(y + residual[channel]));
                }
            }
        } else {
            for (x, out) in rows {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(curve.value(y));
                }
            }
        }
    }
}

multiversion! {
    /// out = the gradient before the curve of [`normalize`], whose argument is computed again.
    pub fn normalized_gradient<T: Float, C: Curve<T>>(
        grad: &[T],
        x: &[T],
        residual: Option<&[T]>,
        affine: &Affine<T>,
        curve: C,
        out: &mut [MaybeUninit<T>],
    ) {
        let channels = affine.centre.len();
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        let rows = x.chunks_exact(channels).zip(grad.chunks_exact(channels)).zip(out.chunks_exact_mut(channels));
        if let Some(residual) = residual {
            for (((x, grad), out), residual) in rows.zip(residual.chunks_exact(channels)) {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(curve.gradient(grad[channel], y + residual[channel]));
                }
            }
        } else {
            for ((x, grad), out) in rows {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(curve.gradient(grad[channel], y));
                }
            }
        }
    }
}

multiversion! {
    /// Σ g and Σ g · (x − centre), g being the gradient before the curve of [`normalize`] without a residual, whose
    /// argument is computed again: cheaper than keeping it.
    pub fn argument_sums<T: Float, C: Curve<T>>(
        grad: &[T],
        x: &[T],
        affine: &Affine<T>,
        curve: C,
        mean: &[f64],
    ) -> Sums {
        let channels = mean.len();
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        let (mut first, mut second) = (vec![0.0; channels], vec![0.0; channels]);
        // The curve in one loop and the sums in another: vectors of T are twice as wide as those of f64.
        let mut before = vec![T::ZERO; channels];
        for (grad, x) in grad.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            let (mean, first, second) = (&mean[..channels], &mut first[..channels], &mut second[..channels]);
            let before = &mut before[..channels];
            for channel in 0..channels {
                let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                before[channel] = curve.gradient(grad[channel], y);
            }
            for channel in 0..channels {
                let grad = before[channel].widen();
                first[channel] += grad;
                second[channel] += grad * (x[channel].widen() - mean[channel]);
            }
        }
        Sums { first, second }
    }
}

multiversion! {
    /// grad ← scale · g + slope · (x − centre) + back, with g as for [`argument_sums`].
    pub fn argument_gradient<T: Float, C: Curve<T>>(
        grad: &mut [T],
        x: &[T],
        affine: &Affine<T>,
        curve: C,
        slope: &[T],
        back: &[T],
    ) {
        let channels = slope.len();
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        let (slope, back) = (&slope[..channels], &back[..channels]);
        for (x, grad) in x.chunks_exact(channels).zip(grad.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let deviation = x[channel] - centre[channel];
                let before = curve.gradient(grad[channel], deviation * scale[channel] + offset[channel]);
                grad[channel] = scale[channel] * before + (slope[channel] * deviation + back[channel]);
            }
        }
    }
}

multiversion! {
    /// grad ← scale · g, with g as for [`argument_sums`].
    pub fn frozen_argument_gradient<T: Float, C: Curve<T>>(grad: &mut [T], x: &[T], affine: &Affine<T>, curve: C) {
        let channels = affine.centre.len();
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        for (x, grad) in x.chunks_exact(channels).zip(grad.chunks_exact_mut(channels)) {
            for channel in 0..channels {
                let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                grad[channel] = scale[channel] * curve.gradient(grad[channel], y);
            }
        }
    }
}

multiversion! {
    /// Σ grad and Σ grad · (x − centre), for the gradient of the output before any activation.
    pub fn gradient_sums<T: Float>(grad: &[T], x: &[T], centre: &[f64]) -> Sums {
        let channels = centre.len();
        let (mut first, mut second) = (vec![0.0; channels], vec![0.0; channels]);
        for (grad, x) in grad.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            let (centre, first, second) = (&centre[..channels], &mut first[..channels], &mut second[..channels]);
            for channel in 0..channels {
                let grad = grad[channel].widen();
                first[channel] += grad;
                second[channel] += grad * (x[channel].widen() - centre[channel]);
            }
        }
        Sums { first, second }
    }
}

multiversion! {
    /// out = the gradient before a curve, given that of its value and what it was a curve of (for a clamp, its value).
    pub fn curve_gradient<T: Float, C: Curve<T>>(grad: &[T], x: &[T], curve: C, out: &mut [MaybeUninit<T>]) {
        for ((out, grad), x) in out.iter_mut().zip(grad).zip(x) {
            out.write(curve.gradient(*grad, *x));
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
