//! Rows times one factor each, on CUDA.

use candle_core::Tensor;

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;

pub fn scale(x: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let factors: Vec<f32> = factors.iter().map(|factor| *factor as f32).collect();
    let width = x.elem_count() / factors.len().max(1);
    let factors = engine.copy_to_device(&factors)?;
    let (out, to) = engine.tensor(x.dtype(), x.shape())?;
    let (count, factors) = (x.elem_count(), engine.address(&factors));
    let arguments = arguments![count as i64, width as i64, address(x)?, factors, to];
    engine.numbers(&kernel("scale_rows", x.dtype())?, count, arguments)?;
    Ok(out)
}
