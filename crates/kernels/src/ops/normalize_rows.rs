//! Rows scaled to a given length, so that their products are cosines.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::Tensor;
use rayon::prelude::*;

use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;

/// The minimum divisor, as in PyTorch's `normalize`: a row of zeros stays zero.
const LEAST: f64 = 1e-12;

/// length · x / |x| for each row of x [N, C]. Lengths are computed in f64.
pub fn normalize_rows(tape: &mut Tape, x: &Value, length: f64) -> Result<Value> {
    let output = scaled(x.tensor(), length)?;
    let saved = x.tensor().clone();
    Ok(tape.record(&[x], output, || NormalizeRows { x: saved, length }))
}

fn scaled(x: &Tensor, length: f64) -> Result<Tensor> {
    on_cuda!(x, cuda::scaled(x, length));
    by_dtype!(x, T => forward::<T>(x, length))
}

fn forward<T: Float>(x: &Tensor, length: f64) -> Result<Tensor> {
    let columns = x.dims2()?.1.max(1);
    let scaled = with_slice(x, |x: &[T]| {
        let mut scaled = x.to_vec();
        scaled.par_chunks_mut(columns).for_each(|row| {
            let factor = length / norm(row).max(LEAST);
            row.iter_mut().for_each(|x| *x = T::from_f64(x.widen() * factor));
        });
        scaled
    })?;
    tensor(scaled, x.shape())
}

fn norm<T: Float>(row: &[T]) -> f64 {
    dot(row, row).sqrt()
}

pub(super) fn dot<T: Float>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.widen() * b.widen()).sum()
}

struct NormalizeRows {
    x: Tensor,
    length: f64,
}

impl Backward for NormalizeRows {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, Ok(vec![Some(cuda::gradient(&self.x, &grad, self.length)?)]));
        Ok(vec![Some(by_dtype!(grad, T => self.gradient::<T>(&grad))?)])
    }
}

impl NormalizeRows {
    /// length / |x| · (g − x (x · g) / |x|²): the component of g along x has no effect.
    fn gradient<T: Float>(&self, grad: &Tensor) -> Result<Tensor> {
        let columns = grad.dims2()?.1.max(1);
        let gradient = with_slice(&self.x, |x: &[T]| {
            with_slice(grad, |grad: &[T]| {
                let mut gradient = grad.to_vec();
                gradient.par_chunks_mut(columns).zip(x.par_chunks(columns)).for_each(|(grad, x)| {
                    let norm = norm(x);
                    let along = if norm > LEAST { dot(x, grad) / (norm * norm) } else { 0.0 };
                    let factor = self.length / norm.max(LEAST);
                    for (grad, x) in grad.iter_mut().zip(x) {
                        *grad = T::from_f64(factor * (grad.widen() - x.widen() * along));
                    }
                });
                gradient
            })
        })??;
        tensor(gradient, grad.shape())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&[normal("x", &[3, 5])], |tape, inputs| normalize_rows(tape, &inputs[0], 2.5));
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("normalize_rows");
        for dtype in [DType::F32, DType::F64] {
            let weights = fixture.input("weights", dtype);
            let (y, grads) = gradients(&[fixture.input("x", dtype)], &weights, |tape, inputs| {
                normalize_rows(tape, &inputs[0], 16.0)
            });
            fixture.assert("y", &y);
            fixture.assert("x.grad", &grads[0]);
        }
    }

    #[test]
    fn zeros_stay_zeros_and_huge_rows_have_their_length() {
        let x = Tensor::new(&[[0f32, 0.0], [3e30, 4e30]], &Device::Cpu).unwrap();
        let mut tape = Tape::new();
        let x = tape.leaf(x);
        let y = normalize_rows(&mut tape, &x, 5.0).unwrap();
        let row = numbers(y.tensor());
        assert_eq!(row[..2], [0.0, 0.0]);
        assert!((row[2] - 3.0).abs() < 1e-6 && (row[3] - 4.0).abs() < 1e-6);
        let zero = Value::constant(Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap());
        assert_eq!(numbers(normalize_rows(&mut tape, &zero, 1.0).unwrap().tensor()), [0.0; 3]);
    }

    #[test]
    fn threads_change_no_bit() {
        let (x, weights) = (normal("x", &[37, 19]), normal("weights", &[37, 19]));
        assert_same_on_any_threads(|| {
            let (y, grads) = gradients(std::slice::from_ref(&x), &weights, |tape, inputs| {
                normalize_rows(tape, &inputs[0], 1.0)
            });
            [vec![y], grads].concat()
        });
    }
}
