//! e^x in f32, of our own: the system's differs from one to the next, and none vectorises inside our loops.

use super::vector::Vector;

/// log₂ e
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, the first short enough for its multiples to be exact.
const LN_2: [f32; 2] = [f32::from_bits(0x3F31_7200), 1.428_606_8e-6];
/// 1.5 · 2²³: a number added to it is rounded to an integer, which its lowest bits then hold.
const ROUND: f32 = 12_582_912.0;
/// Below and above, e^x is 0 and infinity.
const RANGE: [f32; 2] = [-104.0, 89.0];
/// (e^r − 1 − r) / r² on |r| ≤ ln 2 / 2, the largest relative error of e^r as small as it gets: 3e-9.
const POLYNOMIAL: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_453_9];

/// e^x, off by less than one unit in the last place wherever it is a normal number; NaN for NaN.
///
/// Straight code over fused multiply-adds: it vectorises where it is inlined, with the same bits on every profile.
/// e^x = 2^k · e^r with r = x − k · ln 2 (Cody and Waite, *Software Manual for the Elementary Functions*, 1980, ch. 6).
#[inline(always)]
pub fn exponential(x: f32) -> f32 {
    let [lowest, highest] = RANGE;
    let x = if x < lowest { lowest } else { x };
    let x = if x > highest { highest } else { x };
    let rounded = x.mul_add(LOG2_E, ROUND);
    let k = rounded - ROUND;
    let r = k.mul_add(-LN_2[1], k.mul_add(-LN_2[0], x));
    let [a, b, c, d, e] = POLYNOMIAL;
    let polynomial = e.mul_add(r, d).mul_add(r, c).mul_add(r, b).mul_add(r, a);
    let power = polynomial.mul_add(r, 1.0).mul_add(r, 1.0);
    // In two steps: 2^k itself may lie beyond what f32 holds, at either end.
    let k = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    power * power_of_two(k >> 1) * power_of_two(k.wrapping_sub(k >> 1))
}

#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits((k.wrapping_add(127) << 23) as u32)
}

/// 1 / x for x ≥ 1, off by less than one unit in the last place, and 0 from 10³⁷ on; NaN for NaN.
///
/// A division takes as long as ten of these: a first guess from the exponent, and three steps of Newton's, each of which
/// squares the relative error of at most an eighth.
#[inline(always)]
pub fn reciprocal(x: f32) -> f32 {
    let near = if x > LARGEST { LARGEST } else { x };
    let mut y = f32::from_bits(GUESS.wrapping_sub(near.to_bits() as i32) as u32);
    for _ in 0..3 {
        y = y.mul_add((-near).mul_add(y, 1.0), y);
    }
    if x >= LARGEST { 0.0 } else { y }
}

/// The bits of x and of the first guess at 1 / x add up to this.
const GUESS: i32 = 0x7EF3_11C7;
/// Beyond it the guess would be no number.
const LARGEST: f32 = 1e37;

/// What the two functions need of a register of f32 besides arithmetic.
pub trait Bits: Vector<Number = f32> {
    /// self · 2^k, with k in the lowest bits of `rounded`, in the steps of [`exponential`].
    fn times_power_of_two(self, rounded: Self, round: i32) -> Self;

    /// The number whose bits are `total` less those of self.
    fn of_bits_missing_to(self, total: i32) -> Self;

    /// self, but 0 where `x` is `limit` or more.
    fn zero_from(self, x: Self, limit: Self) -> Self;
}

/// [`exponential`] of every lane, with its bits.
#[inline(always)]
pub fn exponential_of<V: Bits>(x: V) -> V {
    let x = x.at_least(V::splat(RANGE[0])).at_most(V::splat(RANGE[1]));
    let rounded = x.fused_multiply_add(V::splat(LOG2_E), V::splat(ROUND));
    let k = rounded.sub(V::splat(ROUND));
    let r = k.fused_multiply_add(V::splat(-LN_2[0]), x);
    let r = k.fused_multiply_add(V::splat(-LN_2[1]), r);
    let mut polynomial = V::splat(POLYNOMIAL[4]);
    for degree in [3, 2, 1, 0] {
        polynomial = polynomial.fused_multiply_add(r, V::splat(POLYNOMIAL[degree]));
    }
    let one = V::splat(1.0);
    let power = polynomial.fused_multiply_add(r, one).fused_multiply_add(r, one);
    power.times_power_of_two(rounded, ROUND.to_bits() as i32)
}

/// [`reciprocal`] of every lane, with its bits.
#[inline(always)]
pub fn reciprocal_of<V: Bits>(x: V) -> V {
    let (one, largest) = (V::splat(1.0), V::splat(LARGEST));
    let near = x.at_most(largest);
    let minus = V::splat(-0.0).sub(near);
    let mut y = near.of_bits_missing_to(GUESS);
    for _ in 0..3 {
        y = y.fused_multiply_add(minus.fused_multiply_add(y, one), y);
    }
    y.zero_from(x, largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::profile::Profile;

    /// Numbers of every size at which e^x is neither 0 nor infinite, and the ends.
    fn samples() -> Vec<f32> {
        let sizes = (0..0x42D0_0000).step_by(1009).map(f32::from_bits);
        sizes.flat_map(|x| [x, -x]).filter(|x| (-87.3..88.7).contains(x)).collect()
    }

    #[test]
    fn reciprocals_are_right_to_one_unit() {
        let mut worst = 0.0f64;
        for x in (0x3F80_0000..0x7CF0_0000).step_by(997).map(f32::from_bits) {
            let exact = 1.0 / f64::from(x);
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(reciprocal(x)) - exact).abs() / unit);
        }
        assert!(worst < 1.0, "{worst} units");
        assert!(reciprocal(f32::INFINITY) == 0.0 && reciprocal(f32::NAN).is_nan());
    }

    #[test]
    fn the_last_place_is_right_to_one_unit() {
        let mut worst = 0.0f64;
        for x in samples() {
            let exact = libm::exp(f64::from(x));
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(exponential(x)) - exact).abs() / unit);
        }
        assert!(worst < 1.0, "{worst} units");
    }

    #[test]
    fn the_ends_are_zero_infinity_and_not_a_number() {
        assert_eq!([f32::NEG_INFINITY, -1e30, -104.0].map(exponential), [0.0; 3]);
        assert_eq!([f32::INFINITY, 1e30, 88.8].map(exponential), [f32::INFINITY; 3]);
        assert!(exponential(f32::NAN).is_nan());
        assert_eq!([0.0, -0.0].map(exponential), [1.0; 2]);
        // What is too small for a normal number loses digits, not its size.
        assert!((f64::from(exponential(-100.0)) / libm::exp(-100.0) - 1.0).abs() < 0.02);
    }

    #[test]
    fn every_profile_computes_the_same_bits() {
        let x = samples();
        let bits = |profile: Profile| {
            let mut y = vec![0.0; x.len()];
            profile.run(
                #[inline(always)]
                || y.iter_mut().zip(&x).for_each(|(y, x)| *y = exponential(*x)),
            );
            y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let scalar = bits(Profile::Scalar);
        assert!(Profile::supported().all(|profile| bits(profile) == scalar));
    }
}
