//! The full inverse DCT with AVX2: eight columns at once, two products per instruction.

use std::arch::x86_64::*;

use super::inverse::{Block, CONST_BITS, EVEN, FIRST_SHIFT, INNER, LAST_SHIFT, OUTER, Quantization, SUMS};

/// As `whole_portable`, with the same bits.
#[target_feature(enable = "avx2")]
pub fn whole(block: &Block, quantization: &Quantization, out: &mut [u8], stride: usize) {
    let mut rows = [_mm_setzero_si128(); 8];
    for (row, (coefficients, factors)) in
        rows.iter_mut().zip(block.as_chunks::<8>().0.iter().zip(quantization.as_chunks::<8>().0))
    {
        // SAFETY: both arrays have the 16 bytes that are loaded.
        let (coefficients, factors) = unsafe {
            (_mm_loadu_si128(coefficients.as_ptr().cast()), _mm_loadu_si128(factors.as_ptr().cast()))
        };
        *row = _mm_mullo_epi16(coefficients, factors);
    }
    let columns = transpose(pass::<{ FIRST_SHIFT as i32 }>(rows));
    let results = pass::<{ LAST_SHIFT as i32 }>(columns);
    // Two columns of samples per register; three perfect shuffles turn them into rows.
    let middle = _mm_set1_epi8(-128);
    let pack = |i: usize| _mm_add_epi8(_mm_packs_epi16(results[i], results[i + 1]), middle);
    let mut samples = [pack(0), pack(2), pack(4), pack(6)];
    for _ in 0..3 {
        let [a, b, c, d] = samples;
        samples = [
            _mm_unpacklo_epi8(a, c),
            _mm_unpackhi_epi8(a, c),
            _mm_unpacklo_epi8(b, d),
            _mm_unpackhi_epi8(b, d),
        ];
    }
    for (pair, samples) in samples.into_iter().enumerate() {
        let (upper, lower) = (_mm_cvtsi128_si64(samples), _mm_extract_epi64::<1>(samples));
        out[2 * pair * stride..][..8].copy_from_slice(&upper.to_le_bytes());
        out[(2 * pair + 1) * stride..][..8].copy_from_slice(&lower.to_le_bytes());
    }
}

/// The eight-point transform of eight columns, as rows.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const SHIFT: i32>(v: [__m128i; 8]) -> [__m128i; 8] {
    let zero = _mm_setzero_si128();
    // The upper half of each number, so that shifting back extends the sign.
    let scaled = |value| _mm256_srai_epi32::<{ 16 - CONST_BITS as i32 }>(pairs(zero, value));
    let (even0, even1) = (scaled(_mm_add_epi16(v[0], v[4])), scaled(_mm_sub_epi16(v[0], v[4])));
    let [even3, even2] = products(v[2], v[6], EVEN);
    let [z3, z4] = products(_mm_add_epi16(v[7], v[3]), _mm_add_epi16(v[5], v[1]), SUMS);
    let [odd0, odd3] = products(v[7], v[1], OUTER);
    let [odd1, odd2] = products(v[5], v[3], INNER);
    let (add, sub) = (|a, b| _mm256_add_epi32(a, b), |a, b| _mm256_sub_epi32(a, b));
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let even = [add(even0, even3), add(even1, even2), sub(even1, even2), sub(even0, even3)];
    let odd = [add(odd3, z4), add(odd2, z3), add(odd1, z4), add(odd0, z3)];
    let mut out = [zero; 8];
    for i in 0..4 {
        let even = add(even[i], half);
        out[i] = narrow(_mm256_srai_epi32::<SHIFT>(add(even, odd[i])));
        out[7 - i] = narrow(_mm256_srai_epi32::<SHIFT>(sub(even, odd[i])));
    }
    out
}

/// Two sums of products of two rows of eight numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn products(a: __m128i, b: __m128i, factors: [[i16; 2]; 2]) -> [__m256i; 2] {
    let both = pairs(a, b);
    factors.map(|[first, second]| {
        let factors = _mm256_set1_epi32((i32::from(second) << 16) | (i32::from(first) & 0xFFFF));
        _mm256_madd_epi16(both, factors)
    })
}

/// Interleaves the numbers of two rows.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs(a: __m128i, b: __m128i) -> __m256i {
    _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b))
}

/// Converts eight numbers to 16 bits with saturation.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow(wide: __m256i) -> __m128i {
    _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide))
}

/// Transposes rows and columns by three perfect shuffles.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(mut rows: [__m128i; 8]) -> [__m128i; 8] {
    for _ in 0..3 {
        let old = rows;
        for i in 0..4 {
            rows[2 * i] = _mm_unpacklo_epi16(old[i], old[i + 4]);
            rows[2 * i + 1] = _mm_unpackhi_epi16(old[i], old[i + 4]);
        }
    }
    rows
}
