//! SGD on CUDA, to the bits of the CPU's.

use candle_core::{DType, Tensor};

use super::StepHyper;
use crate::cuda::{Engine, address, arguments, optional};
use crate::error::Result;
use crate::pipeline::Sgd;

/// The parameter after a step of SGD; its velocity, where it has one, changes in place.
pub fn step(
    settings: &Sgd,
    value: &Tensor,
    gradient: &Tensor,
    buffers: &[Tensor],
    pace: StepHyper,
) -> Result<Tensor> {
    let engine = Engine::of(value)?;
    let count = value.elem_count();
    let (out, to) = engine.tensor(DType::F32, value.shape())?;
    let (from, slope) = (address(value)?, address(gradient)?);
    let velocity = optional(buffers.first())?;
    let momentum = pace.momentum.unwrap_or(settings.momentum);
    let [momentum, weight_decay, lr] = [momentum, pace.weight_decay, pace.lr].map(|factor| factor as f32);
    let nesterov = i32::from(settings.nesterov);
    let arguments = arguments![count as i64, from, slope, velocity, momentum, weight_decay, lr, nesterov, to];
    engine.numbers("sgd", count, arguments)?;
    Ok(out)
}
