//! The sum of two tensors, for residual connections that do not end in a normalization.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::buffer::{ELEMENTS_PER_TASK, build};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// a + b, of the same shape.
pub fn add(tape: &mut Tape, a: &Value, b: &Value) -> Result<Value> {
    let (left, right) = (a.tensor(), b.tensor());
    if left.dims() != right.dims() {
        return Err(Error::bug(format!("a sum of {:?} and {:?}", left.dims(), right.dims())));
    }
    let sum = sum_of(left, right)?;
    Ok(tape.record(&[a, b], sum, || Add))
}

fn sum_of(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    on_cuda!(left, crate::cuda::add(left, right));
    by_dtype!(left, T => forward::<T>(left, right))
}

struct Add;

impl Backward for Add {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(wanted.iter().map(|wanted| wanted.then(|| grad.clone())).collect())
    }
}

fn forward<T: Float>(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let sum = with_slice(left, |left: &[T]| {
        with_slice(right, |right: &[T]| {
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                let range = task * ELEMENTS_PER_TASK..task * ELEMENTS_PER_TASK + out.len();
                add_all(&left[range.clone()], &right[range], out);
            };
            // SAFETY: `add_all` writes every element.
            unsafe { build(left.len(), ELEMENTS_PER_TASK, write) }
        })
    })??;
    tensor(sum, left.shape())
}

multiversion! {
    fn add_all<T: Float>(left: &[T], right: &[T], out: &mut [MaybeUninit<T>]) {
        assert!(left.len() == out.len() && right.len() == out.len());
        for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
            out.write(*left + *right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, normal, numbers};

    #[test]
    fn a_sum_and_its_gradients() {
        let (a, b) = (normal("a", &[3, 4]), normal("b", &[3, 4]));
        check_gradients(&[a.clone(), b.clone()], |tape, inputs| add(tape, &inputs[0], &inputs[1]));
        check_gradients(std::slice::from_ref(&a), |tape, inputs| {
            let twice = add(tape, &inputs[0], &inputs[0])?;
            add(tape, &twice, &inputs[0])
        });
        let sum = add(&mut Tape::new(), &Value::constant(a.clone()), &Value::constant(b.clone())).unwrap();
        assert_eq!(numbers(sum.tensor()), numbers(&(a + b).unwrap()));
    }

    #[test]
    fn shapes_must_agree() {
        let (a, b) = (Value::constant(normal("a", &[3, 4])), Value::constant(normal("b", &[4])));
        assert!(add(&mut Tape::new(), &a, &b).is_err());
    }
}
