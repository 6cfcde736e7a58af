//! Row-to-row loops of batch normalization: one column per channel, vectorised over channels.
//!
//! Each task handles some rows.

use std::mem::MaybeUninit;

use super::activation_fn::{Activation, ActivationFn, specialised};
use super::float::Float;
use super::multiversion::multiversion;
use super::vector::{Registers, Vector, Vectorised, load, store};

/// Per channel, y = (x − centre) · scale + offset. Subtracting first keeps digits that a product with a large
/// mean would lose.
pub struct Affine<T> {
    pub centre: Vec<T>,
    pub scale: Vec<T>,
    pub offset: Vec<T>,
}

/// out = activation(affine(x) + residual). The rows do not fit into the caches until they are read again.
pub struct Normalize<'a, T> {
    pub x: &'a [T],
    pub residual: Option<&'a [T]>,
    pub affine: &'a Affine<T>,
    pub activation: Activation,
    pub out: &'a mut [MaybeUninit<T>],
}

impl<T: Float> Vectorised for Normalize<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        specialised!(self.activation, activation => self.rows(activation, v))
    }
}

impl<T: Float> Normalize<'_, T> {
    #[inline(always)]
    fn rows<V: Vector<Number = T>>(self, activation: Activation, v: Registers<V>) {
        let Self { x, residual, affine: Affine { centre, scale, offset }, out, .. } = self;
        let channels = centre.len();
        assert!(scale.len() == channels && offset.len() == channels && out.len() == x.len());
        assert!(
            x.len().is_multiple_of(channels) && residual.is_none_or(|residual| residual.len() == x.len())
        );
        let out = out.as_mut_ptr().cast::<T>();
        // With a clamp the loop is memory-bound, so it streams. Others are compute-bound, and streaming makes them
        // slower (EfficientNet-B0: 8 % per step).
        let stream = activation.is_clamp()
            && channels.is_multiple_of(V::LANES)
            && out.addr().is_multiple_of(size_of::<V>());
        for row in (0..x.len()).step_by(channels) {
            let mut channel = 0;
            while channel < channels {
                let (count, at) = (V::LANES.min(channels - channel), row + channel);
                // SAFETY: the row has `count` channels left, and all slices have this many rows or one. If
                // results are streamed, rows start at multiples of the vector size.
                unsafe {
                    let deviation =
                        load(v, x.as_ptr().add(at), count).sub(load(v, centre.as_ptr().add(channel), count));
                    let mut y = deviation.mul(load(v, scale.as_ptr().add(channel), count)).add(load(
                        v,
                        offset.as_ptr().add(channel),
                        count,
                    ));
                    if let Some(residual) = residual {
                        y = y.add(load(v, residual.as_ptr().add(at), count));
                    }
                    let y = activation.of(y);
                    if stream { y.stream(out.add(at)) } else { store(y, out.add(at), count) }
                }
                channel += count;
            }
        }
        V::fence();
    }
}

/// grad ← scale · g + slope · (x − centre) + back, with the gradient g before the activation of [`Normalize`]
/// without a residual, whose argument is recomputed. If the statistics are constants: grad ← scale · g.
pub struct ArgumentGradient<'a, T> {
    pub grad: &'a mut [T],
    pub x: &'a [T],
    pub affine: &'a Affine<T>,
    pub activation: Activation,
    /// Slope and back.
    pub statistics: Option<(&'a [T], &'a [T])>,
}

impl<T: Float> Vectorised for ArgumentGradient<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        specialised!(self.activation, activation => self.rows(activation, v))
    }
}

impl<T: Float> ArgumentGradient<'_, T> {
    #[inline(always)]
    fn rows<V: Vector<Number = T>>(self, activation: Activation, v: Registers<V>) {
        let Self { grad, x, affine: Affine { centre, scale, offset }, statistics, .. } = self;
        let channels = centre.len();
        assert!(scale.len() == channels && offset.len() == channels && grad.len() == x.len());
        assert!(x.len().is_multiple_of(channels));
        assert!(statistics.is_none_or(|(slope, back)| slope.len() == channels && back.len() == channels));
        let grad = grad.as_mut_ptr();
        for row in (0..x.len()).step_by(channels) {
            let mut channel = 0;
            while channel < channels {
                let (count, at) = (V::LANES.min(channels - channel), row + channel);
                // SAFETY: the row has `count` channels left, and all slices have this many rows or one.
                unsafe {
                    let scale = load(v, scale.as_ptr().add(channel), count);
                    let deviation =
                        load(v, x.as_ptr().add(at), count).sub(load(v, centre.as_ptr().add(channel), count));
                    let argument = deviation.mul(scale).add(load(v, offset.as_ptr().add(channel), count));
                    let before = activation.gradient_of(load(v, grad.add(at), count), argument);
                    let mut gradient = scale.mul(before);
                    if let Some((slope, back)) = statistics {
                        let slope = load(v, slope.as_ptr().add(channel), count);
                        let back = load(v, back.as_ptr().add(channel), count);
                        gradient = gradient.add(slope.mul(deviation).add(back));
                    }
                    store(gradient, grad.add(at), count);
                }
                channel += count;
            }
        }
    }
}

multiversion! {
    /// out = the gradient before the activation of [`Normalize`], whose argument is recomputed.
    pub fn normalized_gradient<T: Float, C: ActivationFn<T>>(
        grad: &[T],
        x: &[T],
        residual: Option<&[T]>,
        affine: &Affine<T>,
        activation_fn: C,
        out: &mut [MaybeUninit<T>],
    ) {
        let channels = affine.centre.len();
        assert!(out.len().is_multiple_of(channels) && [grad.len(), x.len()] == [out.len(); 2]);
        assert!(residual.is_none_or(|residual| residual.len() == out.len()));
        let (centre, scale, offset) = (&affine.centre[..channels], &affine.scale[..channels], &affine.offset[..channels]);
        let rows = x.chunks_exact(channels).zip(grad.chunks_exact(channels)).zip(out.chunks_exact_mut(channels));
        if let Some(residual) = residual {
            for (((x, grad), out), residual) in rows.zip(residual.chunks_exact(channels)) {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(activation_fn.gradient(grad[channel], y + residual[channel]));
                }
            }
        } else {
            for ((x, grad), out) in rows {
                for channel in 0..channels {
                    let y = (x[channel] - centre[channel]) * scale[channel] + offset[channel];
                    out[channel].write(activation_fn.gradient(grad[channel], y));
                }
            }
        }
    }
}

multiversion! {
    /// out = the gradient of an activation's input, from the gradient of its value and its input (for a clamp:
    /// its value).
    pub fn activation_gradient<T: Float, C: ActivationFn<T>>(grad: &[T], x: &[T], activation_fn: C, out: &mut [MaybeUninit<T>]) {
        assert!(grad.len() == out.len() && x.len() == out.len());
        for ((out, grad), x) in out.iter_mut().zip(grad).zip(x) {
            out.write(activation_fn.gradient(*grad, *x));
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
