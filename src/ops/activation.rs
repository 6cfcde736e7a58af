//! An activation on its own; where one follows a normalisation, it is fused with it instead.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::Activation;
use super::buffer::{TASK, build};
use super::channels::{clamp, unclamp_all};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;

/// Applies `activation` to every number of x.
pub fn activation(tape: &mut Tape, x: &Value, activation: Activation) -> Result<Value> {
    if activation == Activation::None {
        return Ok(x.clone());
    }
    let output = by_dtype!(x.tensor(), T => forward::<T>(x.tensor(), activation))?;
    Ok(tape.record(&[x], output.clone(), || Clamp { output, activation }))
}

/// Saves its output, which what follows it keeps as well.
struct Clamp {
    output: Tensor,
    activation: Activation,
}

impl Backward for Clamp {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        by_dtype!(grad, T => Ok(vec![Some(backward::<T>(&grad, &self.output, self.activation)?)]))
    }
}

fn forward<T: Float>(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let bounds = activation.bounds();
    let output = with_slice(x, |x: &[T]| {
        let write = |task: usize, out: &mut [MaybeUninit<T>]| {
            clamp_all(&x[task * TASK..task * TASK + out.len()], bounds, out)
        };
        // SAFETY: `clamp_all` writes every number.
        unsafe { build(x.len(), TASK, write) }
    })?;
    tensor(output, x.shape())
}

fn backward<T: Float>(grad: &Tensor, output: &Tensor, activation: Activation) -> Result<Tensor> {
    let bounds = activation.bounds();
    let before = with_slice(grad, |grad: &[T]| {
        with_slice(output, |output: &[T]| {
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                let range = task * TASK..task * TASK + out.len();
                unclamp_all(&grad[range.clone()], &output[range], bounds, out);
            };
            // SAFETY: `unclamp_all` writes every number.
            unsafe { build(grad.len(), TASK, write) }
        })
    })??;
    tensor(before, grad.shape())
}

multiversion! {
    fn clamp_all<T: Float>(x: &[T], bounds: (T, T), out: &mut [MaybeUninit<T>]) {
        for (out, x) in out.iter_mut().zip(x) {
            out.write(clamp(*x, bounds));
        }
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
        let x = Tensor::new(&[[-3.0f64, -0.1, 0.1, 2.0], [5.9, 6.1, 20.0, -7.0]], &Device::Cpu).unwrap();
        for kind in [Activation::Relu, Activation::Relu6] {
            check_gradients(std::slice::from_ref(&x), |tape, inputs| activation(tape, &inputs[0], kind));
        }
    }

    #[test]
    fn kinks_and_non_finite_numbers_are_as_in_pytorch() {
        let fixture = Fixture::open("activation");
        for (kind, name) in [(Activation::Relu, "relu"), (Activation::Relu6, "relu6")] {
            for dtype in [DType::F32, DType::F64] {
                let (x, weights) = (fixture.input("x", dtype), fixture.input("weights", dtype));
                let (y, grads) = gradients(&[x], &weights, |tape, inputs| activation(tape, &inputs[0], kind));
                fixture.assert(&format!("{name}.y"), &y);
                fixture.assert(&format!("{name}.x"), &grads[0]);
            }
        }
        let x = Value::constant(
            Tensor::new(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &Device::Cpu).unwrap(),
        );
        let y = activation(&mut Tape::new(), &x, Activation::Relu6).unwrap();
        let y = numbers(y.tensor());
        assert!(y[0].is_nan() && y[1] == 6.0 && y[2] == 0.0, "{y:?}");
    }

    #[test]
    fn threads_do_not_matter() {
        let x = normal("x", &[3 * TASK + 7]).to_dtype(DType::F32).unwrap();
        assert_same_on_any_threads(|| {
            let (y, mut grads) = gradients(std::slice::from_ref(&x), &x, |tape, inputs| {
                activation(tape, &inputs[0], Activation::Relu)
            });
            vec![y, grads.remove(0)]
        });
    }
}
