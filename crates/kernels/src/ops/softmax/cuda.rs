//! Softmax on CUDA.

use candle_core::{DType, Tensor};

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;

/// Probabilities in f32 of logits [N, K].
pub fn rows(logits: &Tensor) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    let engine = Engine::of(logits)?;
    let (out, to) = engine.tensor(DType::F32, (rows, classes))?;
    let arguments = arguments![classes as i32, address(logits)?, to];
    engine.rows(&kernel("softmax", logits.dtype())?, rows, arguments)?;
    Ok(out)
}
