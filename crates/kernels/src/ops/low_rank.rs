//! What a low-rank adapter needs beyond linear layers: Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*
//! (2021), §4.1.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::buffer::{ELEMENTS_PER_TASK, build};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::linear;
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// factor · x.
pub fn scale(tape: &mut Tape, x: &Value, factor: f64) -> Result<Value> {
    let output = scaled(x.tensor(), factor)?;
    Ok(tape.record(&[x], output, || Scale(factor)))
}

struct Scale(f64);

impl Backward for Scale {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(scaled(&grad, self.0)?)])
    }
}

/// weight + factor · up · down, without a gradient: [out, in] of [out, rank] and [rank, in].
pub fn low_rank_sum(weight: &Tensor, down: &Tensor, up: &Tensor, factor: f64) -> Result<Tensor> {
    let fits = match (weight.dims(), up.dims(), down.dims()) {
        ([outputs, inputs], [rows, rank], [depth, columns]) => {
            [outputs, inputs, rank] == [rows, columns, depth]
        }
        _ => false,
    };
    if !fits {
        let dims = [weight, up, down].map(Tensor::dims);
        return Err(Error::bug(format!("a low-rank sum of weight, up and down of {dims:?}")));
    }
    on_cuda!(weight, cuda::low_rank_sum(weight, down, up, factor));
    by_dtype!(weight, T => sum_of::<T>(weight, &linear::matrix_product::<T>(up, down)?, factor))
}

fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    on_cuda!(x, cuda::scaled(x, factor));
    by_dtype!(x, T => multiple::<T>(x, factor))
}

fn multiple<T: Float>(x: &Tensor, factor: f64) -> Result<Tensor> {
    let factor = T::from_f64(factor);
    let output = with_slice(x, |x: &[T]| {
        let write = |task: usize, out: &mut [MaybeUninit<T>]| {
            multiply(&x[task * ELEMENTS_PER_TASK..][..out.len()], factor, out);
        };
        // SAFETY: `multiply` writes every element.
        unsafe { build(x.len(), ELEMENTS_PER_TASK, write) }
    })?;
    tensor(output, x.shape())
}

fn sum_of<T: Float>(weight: &Tensor, product: &[T], factor: f64) -> Result<Tensor> {
    let factor = T::from_f64(factor);
    let output = with_slice(weight, |weight: &[T]| {
        let write = |task: usize, out: &mut [MaybeUninit<T>]| {
            let range = task * ELEMENTS_PER_TASK..task * ELEMENTS_PER_TASK + out.len();
            add_multiple(&weight[range.clone()], &product[range], factor, out);
        };
        // SAFETY: `add_multiple` writes every element.
        unsafe { build(weight.len(), ELEMENTS_PER_TASK, write) }
    })?;
    tensor(output, weight.shape())
}

multiversion! {
    /// out = factor · x.
    fn multiply<T: Float>(x: &[T], factor: T, out: &mut [MaybeUninit<T>]) {
        assert!(x.len() == out.len());
        for (out, x) in out.iter_mut().zip(x) {
            out.write(factor * *x);
        }
    }
}

multiversion! {
    /// out = base + factor · x.
    fn add_multiple<T: Float>(base: &[T], x: &[T], factor: T, out: &mut [MaybeUninit<T>]) {
        assert!(x.len() == out.len() && base.len() == out.len());
        for ((out, base), x) in out.iter_mut().zip(base).zip(x) {
            out.write(*base + factor * *x);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{assert_close, assert_same_on_any_threads, check_gradients, normal, numbers};

    #[test]
    fn a_multiple_and_its_gradient() {
        let x = normal("x", &[3, 5]);
        check_gradients(std::slice::from_ref(&x), |tape, inputs| scale(tape, &inputs[0], -2.5));
        let y = scale(&mut Tape::new(), &Value::constant(x.clone()), 0.5).unwrap();
        assert_eq!(numbers(y.tensor()), numbers(&(x * 0.5).unwrap()));
    }

    #[test]
    fn the_sum_is_that_of_the_matrices() {
        let [weight, up, down] =
            [("w", [70, 33]), ("up", [70, 3]), ("down", [3, 33])].map(|(name, shape)| normal(name, &shape));
        let sum = low_rank_sum(&weight, &down, &up, 1.5).unwrap();
        let expected = (&weight + (up.matmul(&down).unwrap() * 1.5).unwrap()).unwrap();
        assert_close("sum", &sum, &expected, 1e-14);
        let single = [&weight, &down, &up].map(|tensor| tensor.to_dtype(DType::F32).unwrap());
        assert_same_on_any_threads(|| vec![low_rank_sum(&single[0], &single[1], &single[2], 1.5).unwrap()]);
        // A product of zeros adds nothing.
        let none = low_rank_sum(&single[0], &single[1], &single[2].zeros_like().unwrap(), 1.5).unwrap();
        assert_eq!(numbers(&none), numbers(&single[0]));
        assert!(low_rank_sum(&weight, &up, &down, 1.0).is_err());
    }
}
