//! The standard normal distribution in f32, for GELU and its gradient.

use super::exponential::{ExponentBits, MAX_ARGUMENT, factors_of, reciprocal_of};

/// The limit of full precision for e^(−x²/2); beyond it, Φ(x) is 0 or 1 for all purposes.
pub const MAX_ABS: f64 = 13.19;
/// Q(x) = Φ(−x) · e^(x²/2) for 0 ≤ x ≤ [`MAX_ABS`] as a polynomial in t = 1 / (1 + 0.26 · x), constant first (after
/// Abramowitz and Stegun, *Handbook of Mathematical Functions*, 1964, 26.2.17, with more terms), with minimal
/// relative error: 5e-9.
const SCALE: f32 = 0.26;
const TAIL: [f32; 10] = [
    -7.066_439e-6,
    0.103_904_82,
    0.101_729_18,
    0.109_421_775,
    0.031_369_925,
    0.199_831_9,
    -0.200_484_92,
    0.290_748_48,
    -0.170_423_27,
    0.033_909_235,
];
/// 1 / √(2π)
const DENSITY: f32 = 0.398_942_3;

/// Φ(x), the probability below x, and the density. Both are exact to a few units in the last place, and for x <
/// 0 also relative to Φ itself, for |x| ≤ 4. Beyond [`MAX_ABS`] they are constant. A NaN has density NaN.
#[inline(always)]
pub fn normal_of<V: ExponentBits>(x: V) -> [V; 2] {
    let edge = MAX_ABS as f32;
    let x = x.at_least(x.filled(-edge)).at_most(x.filled(edge));
    let size = x.at_least(x.filled(-0.0).sub(x));
    let exponent = x.mul(x).mul(x.filled(-0.5)).at_least(x.filled(-MAX_ARGUMENT));
    let [power, scale] = factors_of(exponent);
    let exponential = power.mul(scale);
    let t = reciprocal_of(size.fused_multiply_add(x.filled(SCALE), x.filled(1.0)));
    let mut polynomial = x.filled(TAIL[9]);
    for degree in 1..10 {
        polynomial = polynomial.fused_multiply_add(t, x.filled(TAIL[9 - degree]));
    }
    let tail = exponential.mul(polynomial);
    // The tail below zero; above zero 1 minus the tail.
    let (before, after) = (x.filled(-2.0 * edge), x.filled(2.0 * edge));
    let below = tail.between(x, before, x.filled(0.0));
    let above = x.filled(1.0).sub(tail).between(x, x.filled(-f32::from_bits(1)), after);
    [below.add(above), exponential.mul(x.filled(DENSITY))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::vector::Single;

    #[test]
    fn shares_and_densities_are_right_to_a_few_units() {
        let (mut share, mut tail, mut density) = (0.0f64, 0.0f64, 0.0f64);
        for step in -8000..=8000 {
            let x = step as f32 / 1000.0;
            let exact = 0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
            let slope = libm::exp(-0.5 * f64::from(x) * f64::from(x)) / (2.0 * std::f64::consts::PI).sqrt();
            let [found, found_density] = normal_of(Single(x)).map(|found| f64::from(found.0));
            share = share.max((found - exact).abs());
            density = density.max((found_density - slope).abs());
            if (-4.0..0.0).contains(&x) {
                tail = tail.max((found - exact).abs() / exact);
            }
        }
        let unit = f64::from(f32::EPSILON);
        assert!(
            share < 2.0 * unit && density < unit && tail < 5.0 * unit,
            "{share:e}, {density:e}, {tail:e}"
        );
    }

    #[test]
    fn the_ends() {
        let share = |x: f32| normal_of(Single(x))[0].0;
        assert_eq!([f32::INFINITY, 1e30, 9.0].map(share), [1.0; 3]);
        assert!(
            [f32::NEG_INFINITY, -1e30, -MAX_ABS as f32].map(share).iter().all(|&y| (0.0..1e-38).contains(&y))
        );
        assert!([0.0, -0.0].map(share).iter().all(|&y| (y - 0.5).abs() <= f32::EPSILON));
        assert!(normal_of(Single(f32::NAN))[1].0.is_nan());
    }
}
