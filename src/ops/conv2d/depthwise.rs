//! Depthwise convolution: direct kernels over vectors of channels, a row of pixels at a time.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::gradient::add;
use crate::ops::float::Float;
use crate::ops::gemm::{Epilogue, activate};
use crate::ops::profile::Profile;

/// Channels that are summed in registers at once, and the steps down to a single one for the rest.
const LANES: usize = 32;

/// Multiply-adds that are worth handing to another thread.
const TASK: usize = 1 << 19;

/// [C, 1, kH, kW] as [kH, kW, C].
pub(super) fn pack<T: Float>(geometry: &Geometry, weight: &[T]) -> Vec<T> {
    (0..geometry.taps()).flat_map(|tap| weight[tap..].iter().step_by(geometry.taps()).copied()).collect()
}

/// For each position of one axis, the taps that meet a pixel of the other side, and which.
struct Meetings {
    pairs: Vec<Meeting>,
    ends: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Meeting {
    tap: usize,
    pixel: usize,
}

impl Meetings {
    /// Output positions meeting input pixels.
    fn of_output(geometry: &Geometry, axis: usize) -> Self {
        let (stride, padding) = (geometry.window.stride[axis], geometry.window.padding[axis]);
        Self::new(geometry.output[axis], geometry.window.kernel[axis], |position, tap| {
            (position * stride + tap).checked_sub(padding).filter(|&pixel| pixel < geometry.input[axis])
        })
    }

    /// Input positions meeting output pixels.
    fn of_input(geometry: &Geometry, axis: usize) -> Self {
        let (stride, padding) = (geometry.window.stride[axis], geometry.window.padding[axis]);
        Self::new(geometry.input[axis], geometry.window.kernel[axis], |position, tap| {
            let distance = (position + padding).checked_sub(tap)?;
            let pixel = distance / stride;
            (distance % stride == 0 && pixel < geometry.output[axis]).then_some(pixel)
        })
    }

    fn new(positions: usize, taps: usize, meet: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let (mut pairs, mut ends) = (Vec::new(), Vec::with_capacity(positions));
        for position in 0..positions {
            pairs.extend((0..taps).filter_map(|tap| Some(Meeting { tap, pixel: meet(position, tap)? })));
            ends.push(pairs.len());
        }
        Self { pairs, ends }
    }

    #[inline(always)]
    fn at(&self, position: usize) -> &[Meeting] {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.pairs[start..self.ends[position]]
    }

    fn positions(&self) -> usize {
        self.ends.len()
    }
}

/// Writes all of `output`, [N, H, W, C]; `weights` as [`pack`] gives them.
pub(super) fn forward<T: Float>(
    profile: Profile,
    geometry: &Geometry,
    x: &[T],
    weights: &[T],
    epilogue: Epilogue<'_, T>,
    output: &mut [MaybeUninit<T>],
) {
    let meetings = [Meetings::of_output(geometry, 0), Meetings::of_output(geometry, 1)];
    Correlation { profile, geometry, meetings, source: x, size: geometry.input, weights, epilogue }
        .write(output);
}

/// Writes all of `output`, [N, H, W, C], from the gradient of the convolution's output.
pub(super) fn input_gradient<T: Float>(
    profile: Profile,
    geometry: &Geometry,
    gradient: &[T],
    weights: &[T],
    output: &mut [MaybeUninit<T>],
) {
    let meetings = [Meetings::of_input(geometry, 0), Meetings::of_input(geometry, 1)];
    let (source, size, epilogue) = (gradient, geometry.output, Epilogue::NONE);
    Correlation { profile, geometry, meetings, source, size, weights, epilogue }.write(output);
}

/// Sums over taps, which both the forward pass and the input gradient are.
struct Correlation<'a, T> {
    profile: Profile,
    geometry: &'a Geometry,
    meetings: [Meetings; 2],
    source: &'a [T],
    /// Height and width of the source.
    size: [usize; 2],
    weights: &'a [T],
    epilogue: Epilogue<'a, T>,
}

impl<T: Float> Correlation<'_, T> {
    fn write(&self, output: &mut [MaybeUninit<T>]) {
        let channels = self.geometry.groups;
        let [height, width] = [self.meetings[0].positions(), self.meetings[1].positions()];
        let rows_per_task = TASK.div_ceil(width * channels * self.geometry.taps());
        let lines = output.par_chunks_mut(width * channels).enumerate();
        lines.with_min_len(rows_per_task).for_each(|(line, output)| {
            let (image, y) = (line / height, line % height);
            self.profile.run(
                #[inline(always)]
                || {
                    let mut channel = 0;
                    while channel + LANES <= channels {
                        self.line::<LANES>(image, y, channel, line * width * channels, output);
                        channel += LANES;
                    }
                    while channel + 8 <= channels {
                        self.line::<8>(image, y, channel, line * width * channels, output);
                        channel += 8;
                    }
                    for channel in channel..channels {
                        self.line::<1>(image, y, channel, line * width * channels, output);
                    }
                },
            );
        });
    }

    /// Some channels of one row of pixels.
    #[inline(always)]
    fn line<const LANES: usize>(
        &self,
        image: usize,
        y: usize,
        channel: usize,
        offset: usize,
        output: &mut [MaybeUninit<T>],
    ) {
        let channels = self.geometry.groups;
        let (rows, taps_across) = (self.meetings[0].at(y), self.geometry.window.kernel[1]);
        let image = image * self.size[0];
        for (x, pixel) in output.chunks_exact_mut(channels).enumerate() {
            let mut sums = [T::ZERO; LANES];
            let columns = self.meetings[1].at(x);
            for row in rows {
                let source = (image + row.pixel) * self.size[1];
                let tap = row.tap * taps_across;
                for column in columns {
                    let source: &[T; LANES] =
                        lanes(self.source, (source + column.pixel) * channels + channel);
                    let weights: &[T; LANES] = lanes(self.weights, (tap + column.tap) * channels + channel);
                    for lane in 0..LANES {
                        sums[lane] = source[lane].fused_multiply_add(weights[lane], sums[lane]);
                    }
                }
            }
            if let Some(bias) = self.epilogue.bias {
                let bias: &[T; LANES] = lanes(bias, channel);
                (0..LANES).for_each(|lane| sums[lane] += bias[lane]);
            }
            if let Some(residual) = self.epilogue.residual {
                let residual: &[T; LANES] = lanes(residual, offset + x * channels + channel);
                (0..LANES).for_each(|lane| sums[lane] += residual[lane]);
            }
            for (output, sum) in pixel[channel..channel + LANES].iter_mut().zip(sums) {
                output.write(activate(sum, self.epilogue.activation));
            }
        }
    }
}

#[inline(always)]
fn lanes<T, const LANES: usize>(numbers: &[T], start: usize) -> &[T; LANES] {
    numbers[start..start + LANES].try_into().expect("a slice of this length")
}

/// The gradient of the weight, [C, 1, kH, kW].
pub(super) fn weight_gradient<T: Float>(
    profile: Profile,
    geometry: &Geometry,
    x: &[T],
    gradient: &[T],
) -> Vec<T> {
    let (channels, taps) = (geometry.groups, geometry.taps());
    let rows = [Meetings::of_output(geometry, 0), Meetings::of_output(geometry, 1)];
    let lines = geometry.images * geometry.output[0];
    // Cut by shape: enough parts to keep threads busy, each with work enough.
    let per_part =
        TASK.div_ceil((geometry.output[1] * channels * taps).max(1)).max(lines.div_ceil(64)).max(1);
    let parts: Vec<Vec<T>> = (0..lines.div_ceil(per_part))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![T::ZERO; taps * channels];
            let lines = part * per_part..lines.min((part + 1) * per_part);
            profile.run(
                #[inline(always)]
                || {
                    for line in lines {
                        weight_gradient_of_line(geometry, &rows, x, gradient, line, &mut sums);
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

#[inline(always)]
fn weight_gradient_of_line<T: Float>(
    geometry: &Geometry,
    meetings: &[Meetings; 2],
    x: &[T],
    gradient: &[T],
    line: usize,
    sums: &mut [T],
) {
    let (image, y) = (line / geometry.output[0], line % geometry.output[0]);
    let channels = geometry.groups;
    for row in meetings[0].at(y) {
        let source = (image * geometry.input[0] + row.pixel) * geometry.input[1];
        for tap in 0..geometry.window.kernel[1] {
            let sums = &mut sums[(row.tap * geometry.window.kernel[1] + tap) * channels..][..channels];
            let columns = columns_of_tap(geometry, tap);
            let mut channel = 0;
            while channel + LANES <= channels {
                let place = [source, line * geometry.output[1], channel];
                tap_gradient::<T, LANES>(geometry, x, gradient, place, tap, &columns, sums);
                channel += LANES;
            }
            while channel + 8 <= channels {
                let place = [source, line * geometry.output[1], channel];
                tap_gradient::<T, 8>(geometry, x, gradient, place, tap, &columns, sums);
                channel += 8;
            }
            for channel in channel..channels {
                let place = [source, line * geometry.output[1], channel];
                tap_gradient::<T, 1>(geometry, x, gradient, place, tap, &columns, sums);
            }
        }
    }
}

/// The output columns for which a tap lies within the image.
#[inline(always)]
fn columns_of_tap(geometry: &Geometry, tap: usize) -> Range<usize> {
    let (stride, left) = (geometry.window.stride[1], geometry.window.padding[1]);
    let first = left.saturating_sub(tap).div_ceil(stride);
    let end = (geometry.input[1] + left).saturating_sub(tap).div_ceil(stride).min(geometry.output[1]);
    first.min(end)..end
}

/// One tap's sum over a row of pixels, for some channels.
#[inline(always)]
fn tap_gradient<T: Float, const LANES: usize>(
    geometry: &Geometry,
    x: &[T],
    gradient: &[T],
    [source, line, channel]: [usize; 3],
    tap: usize,
    columns: &Range<usize>,
    sums: &mut [T],
) {
    let channels = geometry.groups;
    let mut row = [T::ZERO; LANES];
    for column in columns.clone() {
        let pixel = source + column * geometry.window.stride[1] + tap - geometry.window.padding[1];
        let x: &[T; LANES] = lanes(x, pixel * channels + channel);
        let gradient: &[T; LANES] = lanes(gradient, (line + column) * channels + channel);
        for lane in 0..LANES {
            row[lane] = x[lane].fused_multiply_add(gradient[lane], row[lane]);
        }
    }
    (0..LANES).for_each(|lane| sums[channel + lane] += row[lane]);
}
