//! log(1 + e^x), the loss of a logit against the target 0.

use super::exponential::{ExponentBits, exponential_of, reciprocal_of};

/// atanh(s) / s in powers of s², with a relative error below 2e-9 on |s| ≤ 1/3: 1, 1/3, 1/5, …
const SERIES: [f32; 8] = [1.0, 1.0 / 3.0, 0.2, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0];

/// The larger of x and 0, plus log(1 + u) for u = e^−|x|. The logarithm is 2 · atanh(u / (2 + u)). The error is
/// at most 4 units in the last place above −87. NaN for NaN.
#[inline(always)]
pub fn softplus_of<V: ExponentBits>(x: V) -> V {
    let (zero, two) = (x.filled(0.0), x.filled(2.0));
    let minus_x = x.filled(-0.0).sub(x);
    let u = exponential_of(x.at_most(minus_x));
    let s = u.mul(reciprocal_of(two.add(u)));
    let squared = s.mul(s);
    let mut series = x.filled(SERIES[7]);
    for degree in 1..8 {
        series = series.fused_multiply_add(squared, x.filled(SERIES[7 - degree]));
    }
    two.mul(s).fused_multiply_add(series, x.at_least(zero))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::float::Float;
    use crate::ops::vector::Single;

    fn softplus(x: f32) -> f32 {
        softplus_of(Single(x)).0
    }

    #[test]
    fn the_last_place_is_right_to_a_few_units() {
        let mut worst = 0.0f64;
        let sizes = (0..0x42AE_0000).step_by(1009).map(f32::from_bits);
        for x in sizes.flat_map(|x| [x, -x]) {
            let exact = Float::softplus(f64::from(x));
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(softplus(x)) - exact).abs() / unit);
        }
        assert!(worst < 4.0, "{worst} units");
    }

    #[test]
    fn far_out_it_is_a_line_or_almost_zero() {
        assert_eq!([1e30, f32::INFINITY].map(softplus), [1e30, f32::INFINITY]);
        assert!([-87.0, -1e30, f32::NEG_INFINITY].map(softplus).iter().all(|&y| 0.0 < y && y < 2e-38));
        assert!(softplus(f32::NAN).is_nan() && Float::softplus(f64::NAN).is_nan());
        assert_eq!(Float::softplus(1e300), 1e300);
    }
}
