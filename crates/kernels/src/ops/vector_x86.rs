//! The vectors of x86-64: [`Vector`] by intrinsics, with 16 and 8 lanes.

use std::arch::x86_64::*;

use super::exponential::{ExponentBits, exponential_of};
use super::normal::normal_of;
use super::sigmoid::sigmoid_of;
use super::vector::{Registers, Vector, sealed::Sealed};

/// 16 numbers in an AVX-512 register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Avx512(__m512);

/// 8 numbers in an AVX2 register.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Avx2(__m256);

/// Implements [`Vector`] with the intrinsics of one register type.
macro_rules! vector {
    (
        $name:ident($register:ty), $number:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident,
        $stream:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident, $max:ident, $min:ident,
        $between:ident, $halves:ident, $load_wide:ident, $store_wide:ident, $add_wide:ident, $sub_wide:ident, $mul_wide:ident,
        some: |$from:ident, $to:ident, $count:ident, $vector:ident| $load_some:expr, $store_some:expr
    ) => {
        impl $name {
            /// # Safety
            /// The machine must have the register's instructions, all those of its profile.
            #[inline(always)]
            pub unsafe fn of(register: $register) -> Self {
                Self(register)
            }

            #[inline(always)]
            pub fn register(self) -> $register {
                self.0
            }
        }

        impl Sealed for $name {}

        // The machine has the instructions in this whole implementation: `Registers` proves it where a vector is
        // made, and an existing vector elsewhere.
        impl Vector for $name {
            type Number = $number;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(_: Registers<Self>, number: $number) -> Self {
                // SAFETY: the machine has the instruction.
                Self(unsafe { $splat(number) })
            }

            #[inline(always)]
            unsafe fn load(_: Registers<Self>, from: *const $number) -> Self {
                // SAFETY: the caller guarantees the pointer.
                Self(unsafe { $load(from) })
            }

            #[inline(always)]
            unsafe fn load_some(_: Registers<Self>, $from: *const $number, $count: usize) -> Self {
                // SAFETY: lanes beyond `count` are not read; the caller guarantees the pointer.
                Self(unsafe { $load_some })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $number) {
                // SAFETY: the caller guarantees the pointer.
                unsafe { $store(to, self.0) }
            }

            #[inline(always)]
            unsafe fn stream(self, to: *mut $number) {
                // SAFETY: the caller guarantees the pointer and its alignment.
                unsafe { $stream(to, self.0) }
            }

            #[inline(always)]
            fn fence() {
                // SAFETY: part of SSE, which every x86-64 has.
                unsafe { _mm_sfence() }
            }

            #[inline(always)]
            unsafe fn store_some(self, $to: *mut $number, $count: usize) {
                let $vector = self.0;
                // SAFETY: lanes beyond `count` are not written; the caller guarantees the pointer.
                unsafe { $store_some }
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: the machine has the instruction.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: the machine has the instruction.
                Self(unsafe { $sub(self.0, other.0) })
            }

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: the machine has the instruction.
                Self(unsafe { $mul(self.0, other.0) })
            }

            #[inline(always)]
            fn fused_multiply_add(self, a: Self, b: Self) -> Self {
                // SAFETY: the machine has the instruction.
                Self(unsafe { $fma(self.0, a.0, b.0) })
            }

            #[inline(always)]
            fn at_least(self, bound: Self) -> Self {
                // The instruction returns its second operand if one is NaN, here and below.
                // SAFETY: the machine has it.
                Self(unsafe { $max(bound.0, self.0) })
            }

            #[inline(always)]
            fn at_most(self, bound: Self) -> Self {
                // SAFETY: the machine has the instruction.
                Self(unsafe { $min(bound.0, self.0) })
            }

            #[inline(always)]
            fn sigmoid(self) -> Self {
                sigmoid_of(self)
            }

            #[inline(always)]
            fn exponential(self) -> Self {
                exponential_of(self)
            }

            #[inline(always)]
            fn normal(self) -> [Self; 2] {
                normal_of(self)
            }

            #[inline(always)]
            fn between(self, x: Self, low: Self, high: Self) -> Self {
                // SAFETY: the machine has the instructions.
                Self(unsafe { $between(self.0, x.0, low.0, high.0) })
            }

            #[inline(always)]
            unsafe fn add_to(self, sums: *mut f64) {
                // SAFETY: the caller guarantees as many sums as both halves have lanes, here and below.
                unsafe {
                    let mut at = sums;
                    for half in $halves(self.0) {
                        $store_wide(at, $add_wide($load_wide(at), half));
                        at = at.add($lanes / 2);
                    }
                }
            }

            #[inline(always)]
            unsafe fn add_product_to(self, x: Self, centre: *const f64, sums: *mut f64) {
                // SAFETY: as above.
                unsafe {
                    let (own, x) = ($halves(self.0), $halves(x.0));
                    for half in 0..2 {
                        let (centre, sums) = (centre.add(half * $lanes / 2), sums.add(half * $lanes / 2));
                        let product = $mul_wide(own[half], $sub_wide(x[half], $load_wide(centre)));
                        $store_wide(sums, $add_wide($load_wide(sums), product));
                    }
                }
            }

            #[inline(always)]
            unsafe fn add_moments_to(self, centre: *const f64, first: *mut f64, second: *mut f64) {
                // SAFETY: as above.
                unsafe {
                    let own = $halves(self.0);
                    for half in 0..2 {
                        let at = half * $lanes / 2;
                        let deviation = $sub_wide(own[half], $load_wide(centre.add(at)));
                        $store_wide(first.add(at), $add_wide($load_wide(first.add(at)), deviation));
                        let square = $mul_wide(deviation, deviation);
                        $store_wide(second.add(at), $add_wide($load_wide(second.add(at)), square));
                    }
                }
            }
        }
    };
}

vector! {
    Avx512(__m512), f32, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
    _mm512_stream_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_fmadd_ps, _mm512_max_ps, _mm512_min_ps,
    between_512, halves_512, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd,
    some: |from, to, count, vector|
        _mm512_maskz_loadu_ps(((1u32 << count) - 1) as u16, from),
        _mm512_mask_storeu_ps(to, ((1u32 << count) - 1) as u16, vector)
}

vector! {
    Avx2(__m256), f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
    _mm256_stream_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_fmadd_ps, _mm256_max_ps, _mm256_min_ps,
    between_256, halves_256, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd,
    some: |from, to, count, vector|
        _mm256_maskload_ps(from, first_lanes(count)),
        _mm256_maskstore_ps(to, first_lanes(count), vector)
}

/// A mask of the first `count` of 8 lanes.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
unsafe fn first_lanes(count: usize) -> __m256i {
    // SAFETY: the caller's contract is passed on.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
    }
}

/// Both halves, widened to f64.
///
/// # Safety
/// The machine has AVX-512 for the functions of 512 bits, here and below; AVX2 for those of 256.
#[inline(always)]
unsafe fn halves_512(x: __m512) -> [__m512d; 2] {
    // SAFETY: the caller's contract is passed on, here and below.
    unsafe { [_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x))] }
}

/// # Safety
/// As for [`halves_512`].
#[inline(always)]
unsafe fn halves_256(x: __m256) -> [__m256d; 2] {
    // SAFETY: the caller's contract is passed on.
    unsafe { [_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x))] }
}

/// `value` if x is strictly between the bounds, else 0, also for NaN.
///
/// # Safety
/// As for [`halves_512`].
#[inline(always)]
unsafe fn between_512(value: __m512, x: __m512, low: __m512, high: __m512) -> __m512 {
    // SAFETY: the caller's contract is passed on.
    unsafe {
        let above = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(low, x);
        _mm512_maskz_mov_ps(above & _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, high), value)
    }
}

/// # Safety
/// As for [`halves_512`].
#[inline(always)]
unsafe fn between_256(value: __m256, x: __m256, low: __m256, high: __m256) -> __m256 {
    // SAFETY: the caller's contract is passed on.
    unsafe {
        let (above, below) = (_mm256_cmp_ps::<_CMP_LT_OQ>(low, x), _mm256_cmp_ps::<_CMP_LT_OQ>(x, high));
        _mm256_and_ps(value, _mm256_and_ps(above, below))
    }
}

impl ExponentBits for Avx512 {
    #[inline(always)]
    fn power_of_two(self, one: i32) -> Self {
        // SAFETY: an existing vector proves that the machine has the instructions, here and below.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
            Self(_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(one))))
        }
    }

    #[inline(always)]
    fn of_bits_missing_to(self, total: i32) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(total), _mm512_castps_si512(self.0)))
        })
    }
}

impl ExponentBits for Avx2 {
    #[inline(always)]
    fn power_of_two(self, one: i32) -> Self {
        // SAFETY: an existing vector proves that the machine has the instructions, here and below.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(self.0));
            Self(_mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(one))))
        }
    }

    #[inline(always)]
    fn of_bits_missing_to(self, total: i32) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(total), _mm256_castps_si256(self.0)))
        })
    }
}
