//! Own implementations of e^x and 1 / y in f32: system libraries differ, and none vectorises inside our loops.
//! They are branch-free code over fused multiply-adds, with the same bits on every profile.

use super::vector::{Single, Vector};

/// log₂ e
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; multiples of the first are exact.
const LN_2: [f32; 2] = [f32::from_bits(0x3F31_7200), 1.428_606_8e-6];
/// 1.5 · 2²³: adding it rounds a number to an integer, which is then in its lowest bits.
const ROUND: f32 = 12_582_912.0;
/// (e^r − 1 − r) / r² on |r| ≤ ln 2 / 2, with minimal relative error of e^r: 3e-9.
const POLYNOMIAL: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_453_9];
/// The bits of 1.0, which turn an integer in the exponent field into a power of two.
const ONE: i32 = 127 << 23;
/// The sum of the bits of y and of a first estimate of 1 / y, within an eighth of the result.
const GUESS: i32 = 0x7EF3_11C7;

/// The range of the exponential with full precision: outside ± this, the result is constant.
pub const MAX_ARGUMENT: f32 = 87.0;

/// The operations needed on an f32 register besides arithmetic.
pub trait ExponentBits: Vector<Number = f32> {
    /// 2^k for an integer k in the lowest bits.
    fn power_of_two(self, one: i32) -> Self;

    /// The number whose bits are `total` minus the bits of self.
    fn of_bits_missing_to(self, total: i32) -> Self;
}

impl ExponentBits for Single<f32> {
    #[inline(always)]
    fn power_of_two(self, one: i32) -> Self {
        Self(f32::from_bits((self.0.to_bits() << 23).wrapping_add(one as u32)))
    }

    #[inline(always)]
    fn of_bits_missing_to(self, total: i32) -> Self {
        Self(f32::from_bits((total as u32).wrapping_sub(self.0.to_bits())))
    }
}

/// e^x as a product of two factors, for x within ± [`MAX_ARGUMENT`]: e^r and 2^k, where x = k · ln 2 + r (Cody and Waite,
/// *Software Manual for the Elementary Functions*, 1980, ch. 6).
#[inline(always)]
pub fn factors_of<V: ExponentBits>(x: V) -> [V; 2] {
    let one = x.filled(1.0);
    let rounded = x.fused_multiply_add(x.filled(LOG2_E), x.filled(ROUND));
    let k = rounded.sub(x.filled(ROUND));
    let r = k.fused_multiply_add(x.filled(-LN_2[0]), x);
    let r = k.fused_multiply_add(x.filled(-LN_2[1]), r);
    let mut polynomial = x.filled(POLYNOMIAL[4]);
    for degree in 1..5 {
        polynomial = polynomial.fused_multiply_add(r, x.filled(POLYNOMIAL[4 - degree]));
    }
    let power = polynomial.fused_multiply_add(r, one).fused_multiply_add(r, one);
    [power, rounded.power_of_two(ONE)]
}

/// e^x, with an error of at most 1.5 units in the last place within ± [`MAX_ARGUMENT`], and constant beyond; NaN for NaN.
#[inline(always)]
pub fn exponential_of<V: ExponentBits>(x: V) -> V {
    let x = x.at_least(x.filled(-MAX_ARGUMENT)).at_most(x.filled(MAX_ARGUMENT));
    let [power, scale] = factors_of(x);
    power.mul(scale)
}

/// 1 / y of a positive y, by three Newton steps instead of a division, which takes as long as ten.
#[inline(always)]
pub fn reciprocal_of<V: ExponentBits>(y: V) -> V {
    let (one, minus_y) = (y.filled(1.0), y.filled(-0.0).sub(y));
    let mut guess = y.of_bits_missing_to(GUESS);
    for _ in 0..3 {
        guess = guess.fused_multiply_add(minus_y.fused_multiply_add(guess, one), guess);
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_right_to_a_unit_and_a_half() {
        let mut worst = 0.0f64;
        let sizes = (0..0x42AE_0000).step_by(1009).map(f32::from_bits);
        for x in sizes.flat_map(|x| [x, -x]) {
            let exact = libm::exp(f64::from(x));
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(exponential_of(Single(x)).0) - exact).abs() / unit);
        }
        assert!(worst < 1.5, "{worst} units");
    }

    #[test]
    fn far_out_it_is_level() {
        let found = [f32::NEG_INFINITY, -1e30, -MAX_ARGUMENT].map(|x| exponential_of(Single(x)).0);
        assert!(found.iter().all(|&y| y == found[2] && 0.0 < y && y < 2e-38));
        assert!(exponential_of(Single(f32::NAN)).0.is_nan());
        assert_eq!(exponential_of(Single(0.0)).0, 1.0);
    }
}
