//! Depthwise convolution: direct kernels over vectors of channels, a line of pixels at a time.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::ops::curve::{Curve, by_curve};
use crate::ops::float::Float;
use crate::ops::gemm::Epilogue;
use crate::ops::profile::Profile;

/// Channels that are summed at once; the rest goes by 8 and then one by one.
const LANES: usize = 16;
/// Pixels that are summed at once, sharing the weights.
const PIXELS: usize = 4;
/// Multiply-adds that are worth handing to another thread.
pub(super) const TASK: usize = 1 << 19;

/// [C, 1, kH, kW] as [kH, kW, C].
pub(super) fn pack<T: Float>(geometry: &Geometry, weight: &[T]) -> Vec<T> {
    (0..geometry.taps()).flat_map(|tap| weight[tap..].iter().step_by(geometry.taps()).copied()).collect()
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
    let runs = [0, 1].map(|axis| {
        vec![Run {
            first: 0,
            step: 1,
            count: geometry.output[axis],
            taps: (0..geometry.window.kernel[axis]).collect(),
            origin: -(geometry.window.padding[axis] as isize),
            source_step: geometry.window.stride[axis],
            source_size: geometry.input[axis],
        }]
    });
    Correlation { profile, channels: geometry.groups, runs, source: x, weights, epilogue }
        .write(geometry, output);
}

/// Writes all of `output`, [N, H, W, C], from the gradient of the convolution's output.
pub(super) fn input_gradient<T: Float>(
    profile: Profile,
    geometry: &Geometry,
    gradient: &[T],
    weights: &[T],
    output: &mut [MaybeUninit<T>],
) {
    let runs = [0, 1].map(|axis| {
        let run = |phase: super::geometry::Phase| Run {
            first: phase.first,
            step: geometry.window.stride[axis],
            count: phase.count,
            taps: phase.taps,
            origin: phase.origin,
            source_step: 1,
            source_size: geometry.output[axis],
        };
        geometry.phases(axis).map(run).collect()
    });
    let (channels, epilogue) = (geometry.groups, Epilogue::NONE);
    Correlation { profile, channels, runs, source: gradient, weights, epilogue }.write(geometry, output);
}

/// Positions of one axis that meet the same taps: position `first + step · i` meets, with `taps[j]`, the source's
/// `origin + source_step · i + j`, where there is one.
struct Run {
    first: usize,
    step: usize,
    count: usize,
    taps: Vec<usize>,
    origin: isize,
    source_step: usize,
    source_size: usize,
}

impl Run {
    /// The taps (as j) that position i meets.
    fn meets(&self, i: usize) -> Range<usize> {
        let start = self.origin + (self.source_step * i) as isize;
        let end = (self.source_size as isize - start).clamp(0, self.taps.len() as isize) as usize;
        ((-start).max(0) as usize).min(end)..end
    }

    /// The positions (as i) that meet all taps.
    fn whole(&self) -> Range<usize> {
        let all = 0..self.taps.len();
        let first = (0..self.count).find(|&i| self.meets(i) == all).unwrap_or(self.count);
        let end = (first..self.count).rev().find(|&i| self.meets(i) == all).map_or(first, |last| last + 1);
        first..end
    }

    /// Where the source of tap 0 at position i lies, if anything there does.
    fn start(&self, i: usize) -> isize {
        self.origin + (self.source_step * i) as isize
    }
}

/// Sums over taps, which both the forward pass and the input gradient are.
struct Correlation<'a, T> {
    profile: Profile,
    channels: usize,
    /// Of the height and of the width; together they hold each position of the output once.
    runs: [Vec<Run>; 2],
    source: &'a [T],
    weights: &'a [T],
    epilogue: Epilogue<'a, T>,
}

/// A line of the output, and the lines of the source and of the kernel that meet in it.
struct Line<'a, T> {
    /// The start of each source line, and of the weights that go with it.
    meetings: Vec<(usize, usize)>,
    offset: usize,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Float> Correlation<'_, T> {
    fn write(&self, geometry: &Geometry, output: &mut [MaybeUninit<T>]) {
        let size = |axis: usize| self.runs[axis].iter().map(|run| run.count).sum::<usize>();
        let (height, length) = (size(0), size(1) * self.channels);
        let source_length = self.runs[1].first().map_or(0, |run| run.source_size) * self.channels;
        let kernel_length = geometry.window.kernel[1] * self.channels;
        let whole: Vec<Range<usize>> = self.runs[1].iter().map(Run::whole).collect();
        let lines = output.par_chunks_mut(length).enumerate();
        lines.with_min_len(TASK.div_ceil(length * geometry.taps())).for_each(|(line, output)| {
            let (image, y) = (line / height, line % height);
            let step = self.runs[0].len();
            let (run, i) = (&self.runs[0][y % step], y / step);
            let sources = image * run.source_size;
            let meetings = run.meets(i).map(|j| {
                let source = sources + (run.start(i) + j as isize) as usize;
                (source * source_length, run.taps[j] * kernel_length)
            });
            let line = Line { meetings: meetings.collect(), offset: line * length, output };
            self.profile.run(
                #[inline(always)]
                || self.line(line, &whole),
            );
        });
    }

    #[inline(always)]
    fn line(&self, mut line: Line<'_, T>, whole: &[Range<usize>]) {
        let mut points = Vec::new();
        for (run, whole) in self.runs[1].iter().zip(whole) {
            let mut i = 0;
            while i < run.count {
                let pixels = if whole.start <= i && i + PIXELS <= whole.end { PIXELS } else { 1 };
                points.clear();
                for &(source, weights) in &line.meetings {
                    points.extend(run.meets(i).map(|j| Point {
                        source: source + (run.start(i) + j as isize) as usize * self.channels,
                        weights: weights + run.taps[j] * self.channels,
                    }));
                }
                match pixels {
                    PIXELS => self.pixels::<PIXELS>(&mut line, run, i, &points),
                    _ => self.pixels::<1>(&mut line, run, i, &points),
                }
                i += pixels;
            }
        }
    }

    /// Neighbouring pixels of a run, all of which meet the same taps.
    #[inline(always)]
    fn pixels<const PIXELS: usize>(&self, line: &mut Line<'_, T>, run: &Run, i: usize, points: &[Point]) {
        let mut channel = 0;
        while channel + LANES <= self.channels {
            self.vector::<PIXELS, LANES>(line, run, i, points, channel);
            channel += LANES;
        }
        while channel + 8 <= self.channels {
            self.vector::<PIXELS, 8>(line, run, i, points, channel);
            channel += 8;
        }
        for channel in channel..self.channels {
            self.vector::<PIXELS, 1>(line, run, i, points, channel);
        }
    }

    #[inline(always)]
    fn vector<const PIXELS: usize, const LANES: usize>(
        &self,
        line: &mut Line<'_, T>,
        run: &Run,
        i: usize,
        points: &[Point],
        channel: usize,
    ) {
        let mut sums = [[T::ZERO; LANES]; PIXELS];
        let step = run.source_step * self.channels;
        for point in points {
            let weights: &[T; LANES] = lanes(self.weights, point.weights + channel);
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let source: &[T; LANES] = lanes(self.source, point.source + pixel * step + channel);
                for lane in 0..LANES {
                    sums[lane] = source[lane].fused_multiply_add(weights[lane], sums[lane]);
                }
            }
        }
        for (pixel, mut sums) in sums.into_iter().enumerate() {
            let at = (run.first + (i + pixel) * run.step) * self.channels + channel;
            if let Some(bias) = self.epilogue.bias {
                let bias: &[T; LANES] = lanes(bias, channel);
                (0..LANES).for_each(|lane| sums[lane] += bias[lane]);
            }
            if let Some(residual) = self.epilogue.residual {
                let residual: &[T; LANES] = lanes(residual, line.offset + at);
                (0..LANES).for_each(|lane| sums[lane] += residual[lane]);
            }
            by_curve!(self.epilogue.activation, T, curve => {
                sums.iter_mut().for_each(|sum| *sum = curve.value(*sum));
            });
            for (output, sum) in line.output[at..at + LANES].iter_mut().zip(sums) {
                output.write(sum);
            }
        }
    }
}

/// One tap: where the first channel of its source and of its weights stand.
struct Point {
    source: usize,
    weights: usize,
}

#[inline(always)]
pub(super) fn lanes<T, const LANES: usize>(numbers: &[T], start: usize) -> &[T; LANES] {
    numbers[start..start + LANES].try_into().expect("a slice of this length")
}
