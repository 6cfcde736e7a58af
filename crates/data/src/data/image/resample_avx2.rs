//! Filters rows with AVX2: four source pixels at once.

use std::arch::x86_64::*;

use super::resample::{CHANNELS, Filter, HALF, PRECISION_BITS};

/// The number of source pixels read at once.
const GROUP: usize = 4;
/// Weights have 22 bits and factors 15, so weights are split in two, and the sums too.
const LOW_BITS: u32 = PRECISION_BITS / 2;

/// The weights of four pixels, in pairs for the multiply instruction: of the upper bits, of the lower bits.
#[repr(align(32))]
struct WeightGroup([[i16; 16]; 2]);

/// A filter's weights in vector layout.
pub struct VectorWeights {
    groups: Vec<WeightGroup>,
    /// Per output position: the first source pixel.
    starts: Vec<usize>,
    per_position: usize,
}

impl VectorWeights {
    pub fn new(filter: &Filter) -> Self {
        let most = filter.taps().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let per_position = most.div_ceil(GROUP);
        let mut groups = Vec::with_capacity(per_position * filter.len());
        let mut starts = Vec::with_capacity(filter.len());
        for (start, weights) in filter.taps() {
            starts.push(start);
            for group in 0..per_position {
                let weight = |tap: usize| weights.get(group * GROUP + tap).copied().unwrap_or(0);
                let part = |part: fn(i32) -> i32| {
                    std::array::from_fn(|lane| part(weight(lane / 8 * 2 + lane % 2)) as i16)
                };
                groups.push(WeightGroup([
                    part(|weight| weight >> LOW_BITS),
                    part(|weight| weight & ((1 << LOW_BITS) - 1)),
                ]));
            }
        }
        Self { groups, starts, per_position }
    }

    /// Filters a row at the start of `samples` as far as enough data follows; returns the number of finished
    /// pixels.
    #[target_feature(enable = "avx2")]
    pub fn row(&self, samples: &[u8], out: &mut [u8]) -> usize {
        let bytes = (GROUP * self.per_position - GROUP) * CHANNELS + 16;
        // A pixel is written as four bytes, and the next overwrites the fourth; the last pixel is not written
        // here.
        let most = (out.len() / CHANNELS).saturating_sub(1);
        let done =
            self.starts.partition_point(|start| start * CHANNELS + bytes <= samples.len()).min(most) & !1;
        for position in (0..done).step_by(2) {
            // SAFETY: the reads from all finished positions were counted above.
            let sums = unsafe { [self.sums(position, samples), self.sums(position + 1, samples)] };
            let sums = _mm256_add_epi32(
                _mm256_permute2x128_si256::<0x20>(sums[0], sums[1]),
                _mm256_permute2x128_si256::<0x31>(sums[0], sums[1]),
            );
            let rounded = _mm256_add_epi32(sums, _mm256_set1_epi32(HALF));
            let rounded = _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(rounded);
            let words = _mm256_packs_epi32(rounded, rounded);
            let pixels = _mm256_packus_epi16(words, words);
            let out = &mut out[position * CHANNELS..][..2 * CHANNELS + 1];
            out[..4].copy_from_slice(&_mm256_extract_epi32::<0>(pixels).to_le_bytes());
            out[3..].copy_from_slice(&_mm256_extract_epi32::<4>(pixels).to_le_bytes());
        }
        done
    }

    /// The weighted sums of a pixel's channels, in two parts to be added.
    ///
    /// # Safety
    /// All groups of the position must be within `samples`, with 4 more bytes after them.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums(&self, position: usize, samples: &[u8]) -> __m256i {
        // Pairs of adjacent pixels, as 16-bit pairs of a channel: the first two pixels in the lower half, the next two in
        // the upper half.
        let order = _mm256_setr_epi8(
            0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
        );
        let groups = &self.groups[position * self.per_position..][..self.per_position];
        let mut pixels = samples[self.starts[position] * CHANNELS..].as_ptr();
        let (mut high, mut low) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for WeightGroup([upper, lower]) in groups {
            // SAFETY: the caller guarantees that the pixels are in `samples`. Each array of weights has the 32 bytes
            // that are loaded.
            let (four, upper, lower) = unsafe {
                let four = _mm_loadu_si128(pixels.cast());
                pixels = pixels.add(GROUP * CHANNELS);
                (four, _mm256_load_si256(upper.as_ptr().cast()), _mm256_load_si256(lower.as_ptr().cast()))
            };
            let pairs = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(four), order);
            high = _mm256_add_epi32(high, _mm256_madd_epi16(pairs, upper));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(pairs, lower));
        }
        _mm256_add_epi32(_mm256_slli_epi32::<{ LOW_BITS as i32 }>(high), low)
    }
}
