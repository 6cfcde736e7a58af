//! Activations as separate operations. An activation after a normalization is fused with it instead.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::Activation;
use super::activation_fn::{ActivationFn, dispatch_activation};
use super::buffer::{ELEMENTS_PER_TASK, build};
use super::channels::activation_gradient;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;

/// Applies `activation` to every element of x.
pub fn activation(tape: &mut Tape, x: &Value, activation: Activation) -> Result<Value> {
    if activation == Activation::None {
        return Ok(x.clone());
    }
    let output = values_of(x.tensor(), activation)?;
    Ok(tape.record(&[x], output.clone(), || {
        let kept = if activation.is_clamp() { output } else { x.tensor().clone() };
        Activate { kept, activation }
    }))
}

fn values_of(x: &Tensor, activation: Activation) -> Result<Tensor> {
    on_cuda!(x, cuda::forward(x, activation));
    by_dtype!(x, T => forward::<T>(x, activation))
}

/// Saves its output if the gradient can be computed from it, because the next operation saves it too; otherwise
/// its input.
struct Activate {
    kept: Tensor,
    activation: Activation,
}

impl Backward for Activate {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, Ok(vec![Some(cuda::backward(&grad, &self.kept, self.activation)?)]));
        by_dtype!(grad, T => Ok(vec![Some(backward::<T>(&grad, &self.kept, self.activation)?)]))
    }
}

fn forward<T: Float>(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let output = with_slice(x, |x: &[T]| {
        let write = |task: usize, out: &mut [MaybeUninit<T>]| {
            let x = &x[task * ELEMENTS_PER_TASK..task * ELEMENTS_PER_TASK + out.len()];
            dispatch_activation!(activation, T, activation_fn => values(x, activation_fn, out));
        };
        // SAFETY: `values` writes every element.
        unsafe { build(x.len(), ELEMENTS_PER_TASK, write) }
    })?;
    tensor(output, x.shape())
}

fn backward<T: Float>(grad: &Tensor, kept: &Tensor, activation: Activation) -> Result<Tensor> {
    let before = with_slice(grad, |grad: &[T]| {
        with_slice(kept, |kept: &[T]| {
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                let range = task * ELEMENTS_PER_TASK..task * ELEMENTS_PER_TASK + out.len();
                let (grad, kept) = (&grad[range.clone()], &kept[range]);
                dispatch_activation!(activation, T, activation_fn => activation_gradient(grad, kept, activation_fn, out));
            };
            // SAFETY: `activation_gradient` writes every element.
            unsafe { build(grad.len(), ELEMENTS_PER_TASK, write) }
        })
    })??;
    tensor(before, grad.shape())
}

multiversion! {
    fn values<T: Float, C: ActivationFn<T>>(x: &[T], activation_fn: C, out: &mut [MaybeUninit<T>]) {
        assert!(x.len() == out.len());
        for (out, x) in out.iter_mut().zip(x) {
            out.write(activation_fn.value(*x));
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
        let x = Tensor::new(&[[-2.9f64, -0.1, 0.1, 2.0], [5.9, 6.1, 20.0, -7.0]], &Device::Cpu).unwrap();
        for kind in [
            Activation::Relu,
            Activation::Relu6,
            Activation::Silu,
            Activation::Sigmoid,
            Activation::Gelu,
            Activation::HardSwish,
            Activation::HardSigmoid,
        ] {
            check_gradients(std::slice::from_ref(&x), |tape, inputs| activation(tape, &inputs[0], kind));
        }
    }

    #[test]
    fn kinks_and_non_finite_numbers_are_as_in_pytorch() {
        let fixture = Fixture::open("activation");
        for (kind, name) in [
            (Activation::Relu, "relu"),
            (Activation::Relu6, "relu6"),
            (Activation::Silu, "silu"),
            (Activation::Sigmoid, "sigmoid"),
            (Activation::Gelu, "gelu"),
            (Activation::HardSwish, "hard_swish"),
            (Activation::HardSigmoid, "hard_sigmoid"),
        ] {
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
        let x = normal("x", &[3 * ELEMENTS_PER_TASK + 7]).to_dtype(DType::F32).unwrap();
        for kind in [Activation::Relu, Activation::Silu, Activation::HardSwish] {
            assert_same_on_any_threads(|| {
                let (y, mut grads) = gradients(std::slice::from_ref(&x), &x, |tape, inputs| {
                    activation(tape, &inputs[0], kind)
                });
                vec![y, grads.remove(0)]
            });
        }
    }
}
