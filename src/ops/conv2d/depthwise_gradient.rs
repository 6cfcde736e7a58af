//! The weight gradient of depthwise convolution: sums over all pixels, line by line, in parts cut by shape.

use std::ops::Range;

use rayon::prelude::*;

use super::depthwise::{TASK, lanes};
use super::geometry::Geometry;
use super::gradient::add;
use crate::ops::float::Float;
use crate::ops::profile::Profile;

/// Channels that are summed at once; the rest goes by 8 and then one by one.
const LANES: usize = 16;
/// Pixels for which sums are held in registers.
const PIXELS: usize = 4;
/// Parts of the work that keep enough threads busy.
const PARTS: usize = 64;

/// The gradient of the weight, [C, 1, kH, kW].
pub(super) fn weight_gradient<T: Float>(
    profile: Profile,
    geometry: &Geometry,
    x: &[T],
    gradient: &[T],
) -> Vec<T> {
    let (channels, taps) = (geometry.groups, geometry.taps());
    let lines = geometry.images * geometry.output[0];
    let per_part = TASK.div_ceil(geometry.output[1] * channels * taps).max(lines.div_ceil(PARTS));
    let parts: Vec<Vec<T>> = (0..lines.div_ceil(per_part))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![T::ZERO; taps * channels];
            let mut line_sums = vec![T::ZERO; taps * channels];
            let lines = part * per_part..lines.min((part + 1) * per_part);
            profile.run(
                #[inline(always)]
                || {
                    for line in lines {
                        // A sum for each line keeps the error of long sums down.
                        line_sums.fill(T::ZERO);
                        add_line(geometry, x, gradient, line, &mut line_sums);
                        add(profile, &mut sums, &line_sums);
                    }
                },
            );
            sums
        })
        .collect();
    let mut total = vec![T::ZERO; taps * channels];
    parts.iter().for_each(|sums| add(profile, &mut total, sums));
    (0..channels).flat_map(|channel| total[channel..].iter().step_by(channels).copied()).collect()
}

/// Adds what one line of the output's gradient gives to `sums`, [kH, kW, C].
#[inline(always)]
fn add_line<T: Float>(geometry: &Geometry, x: &[T], gradient: &[T], line: usize, sums: &mut [T]) {
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
        let mut tap_x = 0;
        while tap_x < kernel_width {
            // The taps of usual kernels share the reading of the gradient.
            let taps = match kernel_width - tap_x {
                5 => 5,
                3 => 3,
                _ => 1,
            };
            let sums = &mut sums[(tap_y * kernel_width + tap_x) * channels..][..taps * channels];
            match taps {
                5 => add_taps::<T, 5>(geometry, x, gradient, tap_x, sums),
                3 => add_taps::<T, 3>(geometry, x, gradient, tap_x, sums),
                _ => add_taps::<T, 1>(geometry, x, gradient, tap_x, sums),
            }
            tap_x += taps;
        }
    }
}

/// Adds the sums of `TAPS` neighbouring taps over a line.
#[inline(always)]
fn add_taps<T: Float, const TAPS: usize>(
    geometry: &Geometry,
    x: &[T],
    gradient: &[T],
    tap: usize,
    sums: &mut [T],
) {
    let channels = geometry.groups;
    let inside: [Range<usize>; TAPS] = std::array::from_fn(|j| columns_of_tap(geometry, tap + j));
    // The first tap is the last to come inside on the left, the last the first to go outside on the right.
    let whole = inside[0].start..inside[TAPS - 1].end;
    let mut column = 0;
    while column < geometry.output[1] {
        let pixels = if whole.start <= column && column + PIXELS <= whole.end { PIXELS } else { 1 };
        let wanted = std::array::from_fn(|j| inside[j].contains(&column));
        let mut channel = 0;
        while channel + LANES <= channels {
            add_pixels::<T, TAPS, LANES>(geometry, x, gradient, tap, column, pixels, wanted, channel, sums);
            channel += LANES;
        }
        while channel + 8 <= channels {
            add_pixels::<T, TAPS, 8>(geometry, x, gradient, tap, column, pixels, wanted, channel, sums);
            channel += 8;
        }
        for channel in channel..channels {
            add_pixels::<T, TAPS, 1>(geometry, x, gradient, tap, column, pixels, wanted, channel, sums);
        }
        column += pixels;
    }
}

/// The output columns for which a tap lies inside the image.
#[inline(always)]
fn columns_of_tap(geometry: &Geometry, tap: usize) -> Range<usize> {
    let (stride, left) = (geometry.window.stride[1], geometry.window.padding[1]);
    let end = (geometry.input[1] + left).saturating_sub(tap).div_ceil(stride).min(geometry.output[1]);
    left.saturating_sub(tap).div_ceil(stride).min(end)..end
}

/// Adds what some channels of neighbouring pixels give to the `wanted` taps.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn add_pixels<T: Float, const TAPS: usize, const LANES: usize>(
    geometry: &Geometry,
    x: &[T],
    gradient: &[T],
    tap: usize,
    column: usize,
    pixels: usize,
    wanted: [bool; TAPS],
    channel: usize,
    sums: &mut [T],
) {
    let (channels, stride, left) = (geometry.groups, geometry.window.stride[1], geometry.window.padding[1]);
    let mut local: [[T; LANES]; TAPS] = std::array::from_fn(|j| *lanes(sums, j * channels + channel));
    for column in column..column + pixels {
        let gradient: &[T; LANES] = lanes(gradient, column * channels + channel);
        for j in 0..TAPS {
            if wanted[j] {
                let x: &[T; LANES] = lanes(x, (column * stride + tap + j - left) * channels + channel);
                for lane in 0..LANES {
                    local[j][lane] = x[lane].fused_multiply_add(gradient[lane], local[j][lane]);
                }
            }
        }
    }
    for (sums, local) in sums.chunks_exact_mut(channels).zip(local) {
        sums[channel..channel + LANES].copy_from_slice(&local);
    }
}
