//! AdamW on CUDA, to the bits of the CPU's.

use candle_core::{DType, Tensor};

use super::Factors;
use crate::cuda::{Engine, address, argument, arguments};
use crate::error::Result;

argument!(Factors<f32> => "AdamW");

/// The parameter after a step of AdamW; its mean and mean square change in place.
pub fn step(
    factors: &Factors<f64>,
    value: &Tensor,
    gradient: &Tensor,
    [mean, square]: [&Tensor; 2],
) -> Result<Tensor> {
    let engine = Engine::of(value)?;
    let count = value.elem_count();
    let (out, to) = engine.tensor(DType::F32, value.shape())?;
    let (from, slope) = (address(value)?, address(gradient)?);
    let factors = factors.map(|factor| factor as f32);
    let (mean, square) = (address(mean)?, address(square)?);
    let arguments = arguments![count as i64, from, slope, mean, square, factors, to];
    engine.numbers("adamw", count, arguments)?;
    Ok(out)
}
