//! 1 / (1 + e^−x).

use candle_core::Tensor;

use super::exponential::{ExponentBits, MAX_ARGUMENT, factors_of, reciprocal_of};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use crate::error::Result;

/// The probability of each logit independently, for any shape. For inference: nothing is recorded.
pub fn sigmoid(logits: &Tensor) -> Result<Tensor> {
    on_cuda!(logits, {
        let logits = crate::cuda::as_type(logits, candle_core::DType::F32)?;
        super::activation::cuda::forward(&logits, super::Activation::Sigmoid)
    });
    by_dtype!(logits, T => {
        let probabilities = with_slice(logits, |logits: &[T]| logits.iter().map(|x| Float::sigmoid(*x)).collect());
        tensor::<T>(probabilities?, logits.shape())
    })
}

/// The sigmoid, with an error of at most 2.5 units in the last place within ±87. Beyond, it is constant: 1, or
/// less than 10⁻³⁷. NaN for NaN.
#[inline(always)]
pub fn sigmoid_of<V: ExponentBits>(x: V) -> V {
    let x = x.at_least(x.filled(-MAX_ARGUMENT)).at_most(x.filled(MAX_ARGUMENT));
    let [power, scale] = factors_of(x.filled(-0.0).sub(x));
    reciprocal_of(power.fused_multiply_add(scale, x.filled(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::vector::Single;

    fn sigmoid(x: f32) -> f32 {
        sigmoid_of(Single(x)).0
    }

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
    fn tensors_have_the_same_numbers_in_both_types() {
        let logits = [[-30.0, -0.5, 0.0], [0.25, 3.0, 40.0]];
        let wide = Tensor::new(&logits, &candle_core::Device::Cpu).unwrap();
        let narrow = super::sigmoid(&wide.to_dtype(candle_core::DType::F32).unwrap()).unwrap();
        let wide = super::sigmoid(&wide).unwrap();
        assert_eq!(narrow.dims(), [2, 3]);
        let rows = narrow.to_vec2::<f32>().unwrap().concat();
        assert_eq!(rows, logits.concat().iter().map(|x| sigmoid(*x as f32)).collect::<Vec<_>>());
        for (narrow, wide) in rows.iter().zip(wide.to_vec2::<f64>().unwrap().concat()) {
            assert!((f64::from(*narrow) / wide - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn far_out_it_is_level() {
        assert_eq!([87.0, 1e30, f32::INFINITY].map(sigmoid), [1.0; 3]);
        assert!([-87.0, -1e30, f32::NEG_INFINITY].map(sigmoid).iter().all(|&y| 0.0 < y && y < 2e-38));
        assert!(sigmoid(f32::NAN).is_nan());
        assert_eq!([0.0, -0.0].map(sigmoid), [0.5; 2]);
    }
}
