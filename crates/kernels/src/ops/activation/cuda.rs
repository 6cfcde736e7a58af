//! Activations on CUDA.

use candle_core::Tensor;

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;
use crate::ops::Activation;

/// The code of an activation in kernels.
pub fn code(activation: Activation) -> i32 {
    match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        Activation::Silu => 3,
        Activation::Sigmoid => 4,
        Activation::Gelu => 5,
        Activation::HardSwish => 6,
        Activation::HardSigmoid => 7,
    }
}

pub fn forward(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), x.shape())?;
    let (count, code) = (x.elem_count(), code(activation));
    let arguments = arguments![count as i64, address(x)?, to, code];
    engine.numbers(&kernel("activate", x.dtype())?, count, arguments)?;
    Ok(out)
}

pub fn backward(grad: &Tensor, kept: &Tensor, activation: Activation) -> Result<Tensor> {
    let engine = Engine::of(grad)?;
    let (out, to) = engine.tensor(grad.dtype(), grad.shape())?;
    let (count, code) = (grad.elem_count(), code(activation));
    let arguments = arguments![count as i64, address(grad)?, address(kept)?, to, code];
    engine.numbers(&kernel("activate_backward", grad.dtype())?, count, arguments)?;
    Ok(out)
}
