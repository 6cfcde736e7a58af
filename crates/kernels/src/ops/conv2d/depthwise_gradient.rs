//! The weight gradient of depthwise convolution: sums over all pixels, line by line. The shape alone decides the
//! split.

// Index loops over arrays of vectors are intended: iterators over several arrays at once are harder to read.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use rayon::prelude::*;

use super::depthwise::MULTIPLY_ADDS_PER_TASK;
use super::geometry::ConvGeometry;
use super::gradient::add;
use crate::ops::float::Float;
use crate::ops::profile::Profile;
use crate::ops::vector::{Registers, Vector, Vectorised, each, load, store, vectorised};

/// The number of pixels whose sums are held in registers.
const PIXELS: usize = 8;
/// The number of parts that keeps enough threads busy.
const PARTS: usize = 64;

/// The gradient of the weight, [C, 1, kH, kW].
pub(super) fn weight_gradient<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    x: &[T],
    gradient: &[T],
) -> Vec<T> {
    let (channels, taps) = (geometry.groups, geometry.taps());
    let lines = geometry.images * geometry.output[0];
    let per_part =
        MULTIPLY_ADDS_PER_TASK.div_ceil(geometry.output[1] * channels * taps).max(lines.div_ceil(PARTS));
    let parts: Vec<Vec<T>> = (0..lines.div_ceil(per_part))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![T::ZERO; taps * channels];
            let mut line_sums = vec![T::ZERO; taps * channels];
            let lines = part * per_part..lines.min((part + 1) * per_part);
            for line in lines {
                // A separate sum per line reduces the rounding error of long sums.
                line_sums.fill(T::ZERO);
                vectorised(profile, LineGradient { geometry, x, gradient, line, sums: &mut line_sums });
                add(profile, &mut sums, &line_sums);
            }
            sums
        })
        .collect();
    let mut total = vec![T::ZERO; taps * channels];
    parts.iter().for_each(|sums| add(profile, &mut total, sums));
    (0..channels).flat_map(|channel| total[channel..].iter().step_by(channels).copied()).collect()
}

/// Adds the contribution of one line of the output's gradient to `sums`, [kH, kW, C].
struct LineGradient<'a, T> {
    geometry: &'a ConvGeometry,
    x: &'a [T],
    gradient: &'a [T],
    line: usize,
    sums: &'a mut [T],
}

impl<T: Float> Vectorised for LineGradient<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        let Self { geometry, x, gradient, line, sums } = self;
        let (image, y) = (line / geometry.output[0], line % geometry.output[0]);
        let (channels, [kernel_height, kernel_width]) = (geometry.groups, geometry.window.kernel);
        let gradient = &gradient[line * geometry.output[1] * channels..][..geometry.output[1] * channels];
        for tap_y in 0..kernel_height {
            let source = (y * geometry.window.stride[0] + tap_y).wrapping_sub(geometry.window.padding[0]);
            if source >= geometry.input[0] {
                continue;
            }
            let source = (image * geometry.input[0] + source) * geometry.input[1] * channels;
            let x = &x[source..][..geometry.input[1] * channels];
            let mut tap = 0;
            while tap < kernel_width {
                // The taps of common kernel sizes share each load of the gradient.
                let taps = match kernel_width - tap {
                    7 => 7,
                    5 => 5,
                    3 => 3,
                    _ => 1,
                };
                let sums = &mut sums[(tap_y * kernel_width + tap) * channels..][..taps * channels];
                let neighbours = TapGroup { geometry, x, gradient, tap };
                match taps {
                    7 => neighbours.add::<V, 7>(v, sums),
                    5 => neighbours.add::<V, 5>(v, sums),
                    3 => neighbours.add::<V, 3>(v, sums),
                    _ => neighbours.add::<V, 1>(v, sums),
                }
                tap += taps;
            }
        }
    }
}

/// Adjacent taps of one kernel line, over a line of the input and one of the output's gradient.
struct TapGroup<'a, T> {
    geometry: &'a ConvGeometry,
    x: &'a [T],
    gradient: &'a [T],
    tap: usize,
}

impl<T: Float> TapGroup<'_, T> {
    /// Adds the sums of the taps to `sums`, [TAPS, C].
    #[inline(always)]
    fn add<V: Vector<Number = T>, const TAPS: usize>(&self, v: Registers<V>, sums: &mut [T]) {
        let inside: [Range<usize>; TAPS] = std::array::from_fn(|j| self.columns_of(self.tap + j));
        // On the left, the last tap enters the image first; on the right, it leaves first.
        let whole = inside[0].start..inside[TAPS - 1].end.max(inside[0].start);
        let mut column = 0;
        while column < self.geometry.output[1] {
            let mut wanted = [false; TAPS];
            for j in 0..TAPS {
                wanted[j] = inside[j].contains(&column);
            }
            let pixels = if whole.contains(&column) { PIXELS.min(whole.end - column) } else { 1 };
            self.add_pixels::<V, TAPS>(v, column, pixels, wanted, sums);
            column += pixels;
        }
    }

    /// The output columns where a tap is inside the image.
    fn columns_of(&self, tap: usize) -> Range<usize> {
        let geometry = self.geometry;
        let (stride, left) = (geometry.window.stride[1], geometry.window.padding[1]);
        let end = (geometry.input[1] + left).saturating_sub(tap).div_ceil(stride).min(geometry.output[1]);
        left.saturating_sub(tap).div_ceil(stride).min(end)..end
    }

    /// Adds the contribution of adjacent pixels to the `wanted` taps.
    #[inline(always)]
    fn add_pixels<V: Vector<Number = T>, const TAPS: usize>(
        &self,
        v: Registers<V>,
        column: usize,
        pixels: usize,
        wanted: [bool; TAPS],
        sums: &mut [T],
    ) {
        let Self { geometry, x, gradient, tap } = self;
        let (channels, stride, left) =
            (geometry.groups, geometry.window.stride[1], geometry.window.padding[1]);
        let last = column + pixels - 1;
        assert!((last + 1) * channels <= gradient.len() && sums.len() == TAPS * channels);
        for j in (0..TAPS).filter(|&j| wanted[j]) {
            assert!(column * stride + tap + j >= left);
            assert!((last * stride + tap + j - left + 1) * channels <= x.len());
        }
        let mut channel = 0;
        while channel < channels {
            let count = V::LANES.min(channels - channel);
            // SAFETY: `count` channels are left, and every pixel and sum has them all, as asserted above.
            unsafe {
                let sums = sums.as_mut_ptr().add(channel);
                let mut local: [V; TAPS] = each(
                    v,
                    #[inline(always)]
                    |j| load(v, sums.add(j * channels), count),
                );
                for column in column..column + pixels {
                    let gradient = load(v, gradient.as_ptr().add(column * channels + channel), count);
                    for j in 0..TAPS {
                        if wanted[j] {
                            let at = (column * stride + tap + j - left) * channels + channel;
                            local[j] =
                                load(v, x.as_ptr().add(at), count).fused_multiply_add(gradient, local[j]);
                        }
                    }
                }
                for j in 0..TAPS {
                    store(local[j], sums.add(j * channels), count);
                }
            }
            channel += count;
        }
    }
}
