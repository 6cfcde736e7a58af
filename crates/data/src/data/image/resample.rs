//! The two passes of resizing: rows to another width, columns to another height.

use std::ops::Range;

use crate::ops::multiversion::multiversion;
use crate::ops::profile::Profile;

/// Pillow reserves two bits of an `i32` for sums that slightly exceed the range.
pub const PRECISION_BITS: u32 = 32 - 8 - 2;
pub const HALF: i32 = 1 << (PRECISION_BITS - 1);
pub const CHANNELS: usize = 3;

/// The number of row samples summed at once.
const LANES: usize = 64;

/// Interleaved samples with `stride` samples between rows.
pub struct Plane<'a> {
    pub samples: &'a [u8],
    pub stride: usize,
    pub width: usize,
    pub height: usize,
}

impl<'a> Plane<'a> {
    pub fn tight(samples: &'a [u8], width: usize, height: usize) -> Self {
        Self { samples, stride: width * CHANNELS, width, height }
    }

    /// Filters every row to another width.
    pub fn rows(&self, filter: &Filter, out: &mut Vec<u8>) {
        let length = filter.len() * CHANNELS;
        out.resize(length * self.height, 0);
        #[cfg(target_arch = "x86_64")]
        if Profile::current() != Profile::Scalar {
            let weights = super::resample_avx2::VectorWeights::new(filter);
            for (y, row) in out.chunks_exact_mut(length).enumerate() {
                // The vector code may read past the end of a row, but ignores those values.
                let samples = &self.samples[y * self.stride..];
                // SAFETY: the machine supports the current profile, and every profile except the scalar one has
                // AVX2.
                let done = unsafe { weights.row(samples, row) };
                row_portable(filter, done, samples, row);
            }
            return;
        }
        for (y, row) in out.chunks_exact_mut(length).enumerate() {
            row_portable(filter, 0, &self.samples[y * self.stride..], row);
        }
    }

    /// Filters every column to another height.
    pub fn columns(&self, filter: &Filter, out: &mut Vec<u8>) {
        let length = self.width * CHANNELS;
        out.resize(length * filter.len(), 0);
        for (row, (start, weights)) in out.chunks_exact_mut(length).zip(filter.taps()) {
            weighted_rows(&self.samples[start * self.stride..], self.stride, weights, row);
        }
    }
}

/// The pixels of a row from position `done`.
fn row_portable(filter: &Filter, done: usize, samples: &[u8], out: &mut [u8]) {
    for (position, out) in out.chunks_exact_mut(CHANNELS).enumerate().skip(done) {
        let (start, weights) = filter.tap(position);
        let mut sums = [HALF; CHANNELS];
        for (pixel, weight) in samples[start * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(value) * weight;
            }
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = to_byte(sum));
    }
}

multiversion! {
    /// The weighted sum of rows with `stride` samples between them.
    fn weighted_rows(samples: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
        let length = out.len();
        let (blocks, rest) = out.as_chunks_mut::<LANES>();
        for (block, out) in blocks.iter_mut().enumerate() {
            let mut sums = [HALF; LANES];
            for (tap, &weight) in weights.iter().enumerate() {
                let row = &samples[tap * stride + block * LANES..][..LANES];
                for lane in 0..LANES {
                    sums[lane] += i32::from(row[lane]) * weight;
                }
            }
            for lane in 0..LANES {
                out[lane] = to_byte(sums[lane]);
            }
        }
        let start = length - rest.len();
        for (place, out) in rest.iter_mut().enumerate() {
            let values = weights.iter().enumerate();
            let sum = values.map(|(tap, weight)| i32::from(samples[tap * stride + start + place]) * weight);
            *out = to_byte(HALF + sum.sum::<i32>());
        }
    }
}

/// A number that weighs samples.
pub trait Weight: Copy {
    fn of(share: f64) -> Self;
}

/// In fixed point, as Pillow weighs bytes.
impl Weight for i32 {
    fn of(share: f64) -> Self {
        (0.5 + share * f64::from(1 << PRECISION_BITS)) as i32
    }
}

impl Weight for f64 {
    fn of(share: f64) -> Self {
        share
    }
}

/// The weights of one axis for some output positions.
pub struct Filter<W = i32> {
    /// The first input position with a weight, and the number of positions from there.
    pub first: usize,
    pub reach: usize,
    /// Per output position: the start of its input, relative to `first`, and the end of its weights in
    /// `weights`.
    starts: Vec<(usize, usize)>,
    weights: Vec<W>,
}

impl<W: Weight> Filter<W> {
    /// The weights for scaling the range `part` of `input` positions to `output` positions, for the wanted
    /// `positions`.
    pub fn new(input: u32, part: Range<f64>, output: u32, positions: Range<u32>) -> Self {
        let scale = (part.end - part.start) / f64::from(output);
        // The triangle reaches one input pixel on either side, more when shrinking (antialiasing).
        let support = scale.max(1.0);
        let inverse = 1.0 / support;
        let (mut starts, mut weights) = (Vec::with_capacity(positions.len()), Vec::new());
        let mut exact: Vec<f64> = Vec::new();
        for position in positions {
            let center = part.start + (f64::from(position) + 0.5) * scale;
            // Casts truncate, and stop at zero.
            let start = (center - support + 0.5) as u32;
            let end = ((center + support + 0.5) as u32).min(input);
            let triangle = |tap| (1.0 - ((f64::from(tap) - center + 0.5) * inverse).abs()).max(0.0);
            exact.clear();
            exact.extend((start..end).map(triangle));
            let total: f64 = exact.iter().sum();
            weights.extend(exact.iter().map(|weight| W::of(weight / total)));
            starts.push((start as usize, weights.len()));
        }
        let mut filter = Self { first: 0, reach: 0, starts, weights };
        let first = filter.starts.first().map_or(0, |(start, _)| *start);
        let end = filter
            .starts
            .len()
            .checked_sub(1)
            .map(|last| filter.tap(last))
            .map_or(0, |(start, weights)| start + weights.len());
        filter.starts.iter_mut().for_each(|(start, _)| *start -= first);
        Self { first, reach: end - first, ..filter }
    }

    /// The number of output positions.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// For an output position: the start of its input, relative to `first`, and its weights.
    pub fn tap(&self, position: usize) -> (usize, &[W]) {
        let begin = position.checked_sub(1).map_or(0, |before| self.starts[before].1);
        let (start, end) = self.starts[position];
        (start, &self.weights[begin..end])
    }

    /// The same for all output positions.
    pub fn taps(&self) -> impl Iterator<Item = (usize, &[W])> {
        (0..self.len()).map(|position| self.tap(position))
    }
}

#[inline(always)]
pub fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn vector_and_portable_rows_agree(
            input in 1u32..90, output in 1u32..70, rows in 1usize..4, seed in any::<u64>(), part in 0.0..1.0f64,
        ) {
            let mut state = seed;
            let samples: Vec<u8> = (0..input as usize * CHANNELS * rows)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            let from = (part * f64::from(input - 1)).floor();
            let filter = Filter::new(input, from..f64::from(input) - part / 2.0, output, output / 3..output);
            let plane = Plane { samples: &samples, stride: input as usize * CHANNELS, width: input as usize, height: rows };
            let plane = Plane { samples: &plane.samples[filter.first * CHANNELS..], ..plane };
            let mut actual = Vec::new();
            plane.rows(&filter, &mut actual);
            let mut expected = vec![0; actual.len()];
            for (y, row) in expected.chunks_exact_mut(filter.len() * CHANNELS).enumerate() {
                row_portable(&filter, 0, &plane.samples[y * plane.stride..], row);
            }
            prop_assert_eq!(actual, expected);
        }
    }
}
