//! Activations on CUDA.

use candle_core::Tensor;

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::{Error, Result};
use crate::ops::Activation;

/// The number by which kernels know an activation.
pub fn code(activation: Activation) -> Result<i32> {
    #[allow(unreachable_patterns)]
    match activation {
        Activation::None => Ok(0),
        Activation::Relu => Ok(1),
        Activation::Relu6 => Ok(2),
        Activation::Silu => Ok(3),
        Activation::Sigmoid => Ok(4),
        other => Err(Error::usage(format!("the activation {other:?} does not compute on CUDA yet"))
            .hint("set `device = \"cpu\"`")),
    }
}

pub fn forward(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), x.shape())?;
    let (count, code) = (x.elem_count(), code(activation)?);
    let arguments = arguments![count as i64, address(x)?, to, code];
    engine.numbers(&kernel("activate", x.dtype())?, count, arguments)?;
    Ok(out)
}

pub fn backward(grad: &Tensor, kept: &Tensor, activation: Activation) -> Result<Tensor> {
    let engine = Engine::of(grad)?;
    let (out, to) = engine.tensor(grad.dtype(), grad.shape())?;
    let (count, code) = (grad.elem_count(), code(activation)?);
    let arguments = arguments![count as i64, address(grad)?, address(kept)?, to, code];
    engine.numbers(&kernel("activate_backward", grad.dtype())?, count, arguments)?;
    Ok(out)
}
