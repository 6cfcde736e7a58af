//! What the vectors of x86-64 do beyond single instructions.

use std::arch::x86_64::*;

use super::sigmoid::Bits;

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
    fn power_of_two(self, one: i32) -> Self {
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(one)))
        }
    }

    #[inline(always)]
    fn of_bits_missing_to(self, total: i32) -> Self {
        unsafe { _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(total), _mm512_castps_si512(self))) }
    }
}

impl Bits for __m256 {
    #[inline(always)]
    fn power_of_two(self, one: i32) -> Self {
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(self));
            _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(one)))
        }
    }

    #[inline(always)]
    fn of_bits_missing_to(self, total: i32) -> Self {
        unsafe { _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(total), _mm256_castps_si256(self))) }
    }
}
