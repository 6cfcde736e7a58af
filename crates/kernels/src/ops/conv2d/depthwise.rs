//! Depthwise convolution: direct kernels over vectors of channels, a line of pixels at a time.

// Index loops over arrays of vectors are intended: iterators over several arrays at once are harder to read.
#![allow(clippy::needless_range_loop)]

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::geometry::ConvGeometry;
use crate::ops::float::Float;
use crate::ops::gemm::Epilogue;
use crate::ops::profile::Profile;
use crate::ops::vector::{Registers, Vector, Vectorised, load, store, vectorised};

/// The multiply-adds that are worth a task of their own.
pub(super) const MULTIPLY_ADDS_PER_TASK: usize = 1 << 19;

/// Transposes [C, 1, kH, kW] to [kH, kW, C].
pub(super) fn pack<T: Float>(geometry: &ConvGeometry, weight: &[T]) -> Vec<T> {
    (0..geometry.taps()).flat_map(|tap| weight[tap..].iter().step_by(geometry.taps()).copied()).collect()
}

/// Writes all of `output`, [N, H, W, C]; `weights` in the layout of [`pack`].
pub(super) fn forward<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    x: &[T],
    weights: &[T],
    epilogue: Epilogue<'_, T>,
    output: &mut [MaybeUninit<T>],
) {
    let runs = [0, 1].map(|axis| {
        vec![TapRun {
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
    geometry: &ConvGeometry,
    gradient: &[T],
    weights: &[T],
    output: &mut [MaybeUninit<T>],
) {
    let runs = [0, 1].map(|axis| {
        let run = |phase: super::geometry::StridePhase| TapRun {
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

/// Positions of one axis that use the same taps: position `first + step · i` reads, for `taps[j]`, the source
/// position `origin + source_step · i + j`, if it exists.
struct TapRun {
    first: usize,
    step: usize,
    count: usize,
    taps: Vec<usize>,
    origin: isize,
    source_step: usize,
    source_size: usize,
}

impl TapRun {
    /// The taps (as j) that read inside the source at position i.
    fn meets(&self, i: usize) -> Range<usize> {
        let start = self.origin + (self.source_step * i) as isize;
        let end = (self.source_size as isize - start).clamp(0, self.taps.len() as isize) as usize;
        ((-start).max(0) as usize).min(end)..end
    }

    /// The positions (as i) where all taps read inside the source.
    fn whole(&self) -> Range<usize> {
        let all = 0..self.taps.len();
        let first = (0..self.count).find(|&i| self.meets(i) == all).unwrap_or(self.count);
        let end = (first..self.count).rev().find(|&i| self.meets(i) == all).map_or(first, |last| last + 1);
        first..end
    }

    /// The source position of tap 0 at position i, if any tap is inside.
    fn start(&self, i: usize) -> isize {
        self.origin + (self.source_step * i) as isize
    }
}

/// Sums over taps; the forward pass and the input gradient are both of this form.
struct Correlation<'a, T> {
    profile: Profile,
    channels: usize,
    /// For height and width; together they contain each output position once.
    runs: [Vec<TapRun>; 2],
    source: &'a [T],
    weights: &'a [T],
    epilogue: Epilogue<'a, T>,
}

impl<T: Float> Correlation<'_, T> {
    fn write(&self, geometry: &ConvGeometry, output: &mut [MaybeUninit<T>]) {
        let size = |axis: usize| self.runs[axis].iter().map(|run| run.count).sum::<usize>();
        let (height, length) = (size(0), size(1) * self.channels);
        let source_length = self.runs[1].first().map_or(0, |run| run.source_size) * self.channels;
        let kernel_length = geometry.window.kernel[1] * self.channels;
        assert!(self.epilogue.bias.is_none_or(|bias| bias.len() == self.channels));
        assert!(self.epilogue.residual.is_none_or(|residual| residual.len() == output.len()));
        let whole: Vec<Range<usize>> = self.runs[1].iter().map(TapRun::whole).collect();
        let lines = output.par_chunks_mut(length).enumerate();
        lines.with_min_len(MULTIPLY_ADDS_PER_TASK.div_ceil(length * geometry.taps())).for_each(
            |(line, output)| {
                let (image, y) = (line / height, line % height);
                let step = self.runs[0].len();
                let (run, i) = (&self.runs[0][y % step], y / step);
                let sources = image * run.source_size;
                let meetings = run.meets(i).map(|j| {
                    let source = sources + (run.start(i) + j as isize) as usize;
                    (source * source_length, run.taps[j] * kernel_length)
                });
                let (meetings, offset) = (meetings.collect(), line * length);
                let line = OutputLine { of: self, whole: &whole, meetings, offset, output };
                vectorised(self.profile, line);
            },
        );
    }
}

/// A line of output pixels.
struct OutputLine<'a, 'o, T> {
    of: &'a Correlation<'a, T>,
    /// For each run of the width, the positions where all taps are inside.
    whole: &'a [Range<usize>],
    /// The start offsets of the source and kernel lines that contribute.
    meetings: Vec<(usize, usize)>,
    /// The start offset of the line itself.
    offset: usize,
    output: &'o mut [MaybeUninit<T>],
}

/// One tap: the offsets of the first channel of its source and weights.
struct TapSource {
    source: usize,
    weights: usize,
}

impl<T: Float> Vectorised for OutputLine<'_, '_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(mut self, v: Registers<V>) {
        let mut points = Vec::new();
        for (run, whole) in self.of.runs[1].iter().zip(self.whole) {
            for i in (0..whole.start).chain(whole.end..run.count) {
                self.meet(run, i, &mut points);
                self.pixels::<V, 1>(v, run, i, &points);
            }
            let mut i = whole.start;
            self.meet(run, i, &mut points);
            // Pixels where all taps are inside share their weights; only the source offsets differ.
            while i < whole.end {
                let pixels = [8, 4, 2, 1].into_iter().find(|pixels| i + pixels <= whole.end);
                match pixels {
                    Some(8) => self.pixels::<V, 8>(v, run, i, &points),
                    Some(4) => self.pixels::<V, 4>(v, run, i, &points),
                    Some(2) => self.pixels::<V, 2>(v, run, i, &points),
                    _ => self.pixels::<V, 1>(v, run, i, &points),
                }
                let pixels = pixels.unwrap_or(1);
                points
                    .iter_mut()
                    .for_each(|point| point.source += pixels * run.source_step * self.of.channels);
                i += pixels;
            }
        }
    }
}

impl<T: Float> OutputLine<'_, '_, T> {
    /// The taps inside the source at position `i`, in summation order.
    #[inline(always)]
    fn meet(&self, run: &TapRun, i: usize, points: &mut Vec<TapSource>) {
        let channels = self.of.channels;
        points.clear();
        for &(source, weights) in &self.meetings {
            for j in run.meets(i) {
                points.push(TapSource {
                    source: source + (run.start(i) + j as isize) as usize * channels,
                    weights: weights + run.taps[j] * channels,
                });
            }
        }
    }

    /// Adjacent pixels of a run where all taps are inside.
    #[inline(always)]
    fn pixels<V: Vector<Number = T>, const PIXELS: usize>(
        &mut self,
        v: Registers<V>,
        run: &TapRun,
        i: usize,
        points: &[TapSource],
    ) {
        let Correlation { channels, source, weights, epilogue, .. } = *self.of;
        let step = run.source_step * channels;
        for point in points {
            assert!(point.source + (PIXELS - 1) * step + channels <= source.len());
            assert!(point.weights + channels <= weights.len());
        }
        let first = (run.first + i * run.step) * channels;
        assert!(first + (PIXELS - 1) * run.step * channels + channels <= self.output.len());
        let zero = V::splat(v, T::ZERO);
        let mut channel = 0;
        while channel < channels {
            let count = V::LANES.min(channels - channel);
            let mut sums = [zero; PIXELS];
            // SAFETY: `count` channels are left, and every pixel has them all, as asserted above; the sizes of
            // bias and residual were checked before.
            unsafe {
                for point in points {
                    let weights = load(v, weights.as_ptr().add(point.weights + channel), count);
                    let source = source.as_ptr().add(point.source + channel);
                    for pixel in 0..PIXELS {
                        let source = load(v, source.add(pixel * step), count);
                        sums[pixel] = source.fused_multiply_add(weights, sums[pixel]);
                    }
                }
                for pixel in 0..PIXELS {
                    let at = first + pixel * run.step * channels + channel;
                    let mut sum = sums[pixel];
                    if let Some(bias) = epilogue.bias {
                        sum = sum.add(load(v, bias.as_ptr().add(channel), count));
                    }
                    if let Some(residual) = epilogue.residual {
                        sum = sum.add(load(v, residual.as_ptr().add(self.offset + at), count));
                    }
                    let sum = epilogue.activation.of(sum);
                    store(sum, self.output.as_mut_ptr().cast::<T>().add(at), count);
                }
            }
            channel += count;
        }
    }
}
