//! Conversion of half-precision activations to f32, as the last operation before a loss.

use candle_core::{DType, Tensor};

use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;

/// The same numbers in f32, if they are in half precision. Their gradient is rounded to the type of `x`.
pub fn in_f32(tape: &mut Tape, x: &Value) -> Result<Value> {
    let dtype = x.tensor().dtype();
    match dtype {
        DType::F16 | DType::BF16 => {
            let output = converted(x.tensor(), DType::F32)?;
            Ok(tape.record(&[x], output, || Rounded(dtype)))
        }
        _ => Ok(x.clone()),
    }
}

fn converted(x: &Tensor, dtype: DType) -> Result<Tensor> {
    on_cuda!(x, crate::cuda::as_type(x, dtype));
    Ok(x.to_dtype(dtype)?)
}

/// Rounds the gradient to this type.
struct Rounded(DType);

impl Backward for Rounded {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(converted(&grad, self.0)?)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// 2⁻²⁶ is below the smallest number of f16, unless it is scaled.
    #[test]
    fn a_scaled_gradient_does_not_vanish() {
        let gradient = |scale: f64| {
            let mut tape = Tape::new();
            let x = tape.leaf(Tensor::new(&[3f32], &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap());
            let y = in_f32(&mut tape, &x).unwrap();
            assert_eq!(y.tensor().to_vec1::<f32>().unwrap(), [3.0]);
            let loss = tape.record(&[&y], Tensor::new(0f32, &Device::Cpu).unwrap(), || Slope);
            let gradient = tape.backward_scaled(&loss, scale).unwrap().take(&x).unwrap();
            assert_eq!(gradient.dtype(), DType::F16);
            gradient.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap()[0]
        };
        assert_eq!(gradient(1.0), 0.0);
        assert_eq!(gradient(65536.0), 1.0 / 1024.0);
        assert_eq!(gradient(f64::powi(2.0, 60)), f32::INFINITY);
        let plain = Value::constant(Tensor::new(&[3f64], &Device::Cpu).unwrap());
        assert_eq!(in_f32(&mut Tape::new(), &plain).unwrap().tensor().dtype(), DType::F64);
    }

    /// A loss of slope 2⁻²⁶.
    struct Slope;

    impl Backward for Slope {
        fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![Some((grad.reshape(1)? * f64::powi(2.0, -26))?)])
        }
    }
}
