//! What the vectors of x86-64 do beyond single instructions.

use std::arch::x86_64::*;

use super::exponential::Bits;

/// Both halves, widened to f64.
///
/// # Safety
/// The machine has AVX-512, here and in the others of 512 bits; AVX2 in those of 256.
#[inline(always)]
pub unsafe fn halves_512(x: __m512) -> [__m512d; 2] {
    // SAFETY: as above, for all that follows.
    unsafe { [_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x))] }
}

/// # Safety
/// As for [`halves_512`].
#[inline(always)]
pub unsafe fn halves_256(x: __m256) -> [__m256d; 2] {
    unsafe { [_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x))] }
}

/// `value` where x lies between the bounds, else 0; a NaN lies nowhere.
///
/// # Safety
/// As for [`halves_512`].
#[inline(always)]
pub unsafe fn between_512(value: __m512, x: __m512, low: __m512, high: __m512) -> __m512 {
    unsafe {
        let above = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(low, x);
        _mm512_maskz_mov_ps(above & _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, high), value)
    }
}

/// # Safety
/// As for [`halves_512`].
#[inline(always)]
pub unsafe fn between_256(value: __m256, x: __m256, low: __m256, high: __m256) -> __m256 {
    unsafe {
        let (above, below) = (_mm256_cmp_ps::<_CMP_LT_OQ>(low, x), _mm256_cmp_ps::<_CMP_LT_OQ>(x, high));
        _mm256_and_ps(value, _mm256_and_ps(above, below))
    }
}

impl Bits for __m512 {
    #[inline(always)]
    fn times_power_of_two(self, rounded: Self, round: i32) -> Self {
        unsafe {
            let k = _mm512_sub_epi32(_mm512_castps_si512(rounded), _mm512_set1_epi32(round));
            let half = _mm512_srai_epi32::<1>(k);
            let (first, second) = (power_512(half), power_512(_mm512_sub_epi32(k, half)));
            _mm512_mul_ps(_mm512_mul_ps(self, first), second)
        }
    }

    #[inline(always)]
    fn of_bits_missing_to(self, total: i32) -> Self {
        unsafe { _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(total), _mm512_castps_si512(self))) }
    }

    #[inline(always)]
    fn zero_from(self, x: Self, limit: Self) -> Self {
        unsafe { _mm512_maskz_mov_ps(!_mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, limit), self) }
    }
}

impl Bits for __m256 {
    #[inline(always)]
    fn times_power_of_two(self, rounded: Self, round: i32) -> Self {
        unsafe {
            let k = _mm256_sub_epi32(_mm256_castps_si256(rounded), _mm256_set1_epi32(round));
            let half = _mm256_srai_epi32::<1>(k);
            let (first, second) = (power_256(half), power_256(_mm256_sub_epi32(k, half)));
            _mm256_mul_ps(_mm256_mul_ps(self, first), second)
        }
    }

    #[inline(always)]
    fn of_bits_missing_to(self, total: i32) -> Self {
        unsafe { _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(total), _mm256_castps_si256(self))) }
    }

    #[inline(always)]
    fn zero_from(self, x: Self, limit: Self) -> Self {
        unsafe { _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(x, limit), self) }
    }
}

/// 2^k
#[inline(always)]
unsafe fn power_512(k: __m512i) -> __m512 {
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(k, _mm512_set1_epi32(127)))) }
}

#[inline(always)]
unsafe fn power_256(k: __m256i) -> __m256 {
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(k, _mm256_set1_epi32(127)))) }
}
