//! 1 / (1 + e^−x) in f32, of our own: the system's exponential differs from one to the next, and none vectorises inside
//! our loops.

use super::vector::Vector;

/// −log₂ e
const MINUS_LOG2_E: f32 = -std::f32::consts::LOG2_E;
/// ln 2 in two parts, the first short enough for its multiples to be exact.
const LN_2: [f32; 2] = [f32::from_bits(0x3F31_7200), 1.428_606_8e-6];
/// 1.5 · 2²³: a number added to it is rounded to an integer, which its lowest bits then hold.
const ROUND: f32 = 12_582_912.0;
/// Beyond these, the sigmoid stays what it is there: 1, or less than 10⁻³⁷.
const FAR: f32 = 87.0;
/// (e^r − 1 − r) / r² on |r| ≤ ln 2 / 2, the largest relative error of e^r as small as it gets: 3e-9.
const POLYNOMIAL: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_453_9];
/// The bits of 1, by which an integer in the place of the exponent becomes a power of two.
const ONE: i32 = 127 << 23;
/// The bits of y and of a first guess at 1 / y add up to this, give or take an eighth of the result.
const GUESS: i32 = 0x7EF3_11C7;

/// The sigmoid, off by at most 2.5 units in the last place within ±87; NaN for NaN.
///
/// Straight code over fused multiply-adds, with the same bits on every profile. e^−x = 2^k · e^r with r = −x − k · ln 2
/// (Cody and Waite, *Software Manual for the Elementary Functions*, 1980, ch. 6); then three of Newton's steps instead of a
/// division, which takes as long as ten.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let x = if x < -FAR { -FAR } else { x };
    let x = if x > FAR { FAR } else { x };
    let rounded = x.mul_add(MINUS_LOG2_E, ROUND);
    let k = rounded - ROUND;
    let r = k.mul_add(-LN_2[1], k.mul_add(-LN_2[0], -x));
    let [a, b, c, d, e] = POLYNOMIAL;
    let polynomial = e.mul_add(r, d).mul_add(r, c).mul_add(r, b).mul_add(r, a);
    let power = polynomial.mul_add(r, 1.0).mul_add(r, 1.0);
    let y = power.mul_add(f32::from_bits((rounded.to_bits() << 23).wrapping_add(ONE as u32)), 1.0);
    let mut guess = f32::from_bits((GUESS as u32).wrapping_sub(y.to_bits()));
    for _ in 0..3 {
        guess = guess.mul_add((-y).mul_add(guess, 1.0), guess);
    }
    guess
}

/// What it needs of a register of f32 besides arithmetic.
pub trait Bits: Vector<Number = f32> {
    /// 2^k, of an integer k in the lowest bits.
    fn power_of_two(self, one: i32) -> Self;

    /// The number whose bits are `total` less those of self.
    fn of_bits_missing_to(self, total: i32) -> Self;
}

/// [`sigmoid`] of every lane, with its bits.
#[inline(always)]
pub fn sigmoid_of<V: Bits>(x: V) -> V {
    let (one, minus_zero) = (V::splat(1.0), V::splat(-0.0));
    let x = x.at_least(V::splat(-FAR)).at_most(V::splat(FAR));
    let rounded = x.fused_multiply_add(V::splat(MINUS_LOG2_E), V::splat(ROUND));
    let k = rounded.sub(V::splat(ROUND));
    let r = k.fused_multiply_add(V::splat(-LN_2[0]), minus_zero.sub(x));
    let r = k.fused_multiply_add(V::splat(-LN_2[1]), r);
    let mut polynomial = V::splat(POLYNOMIAL[4]);
    for degree in 1..5 {
        polynomial = polynomial.fused_multiply_add(r, V::splat(POLYNOMIAL[4 - degree]));
    }
    let power = polynomial.fused_multiply_add(r, one).fused_multiply_add(r, one);
    let y = power.fused_multiply_add(rounded.power_of_two(ONE), one);
    let minus_y = minus_zero.sub(y);
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
    fn the_last_place_is_right_to_a_few_units() {
        let mut worst = 0.0f64;
        let sizes = (0..0x42AE_0000).step_by(1009).map(f32::from_bits);
        for x in sizes.flat_map(|x| [x, -x]) {
            let exact = 1.0 / (1.0 + libm::exp(-f64::from(x)));
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(sigmoid(x)) - exact).abs() / unit);
        }
        assert!(worst < 2.5, "{worst} units");
    }

    #[test]
    fn far_out_it_is_level() {
        assert_eq!([87.0, 1e30, f32::INFINITY].map(sigmoid), [1.0; 3]);
        assert!([-87.0, -1e30, f32::NEG_INFINITY].map(sigmoid).iter().all(|&y| 0.0 < y && y < 2e-38));
        assert!(sigmoid(f32::NAN).is_nan());
        assert_eq!([0.0, -0.0].map(sigmoid), [0.5; 2]);
    }
}
