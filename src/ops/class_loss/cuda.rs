//! Losses where the scores lie on a GPU.

use candle_core::{DType, Device, Tensor};

use crate::autograd::{Tape, Value};
use crate::cuda::{Engine, address, arguments, as_type, kernel};
use crate::error::Result;

/// A loss of scores, computed on the host and to its bits, with whatever else comes of it: scores are few, each row's loss is
/// read in any case, and the losses that come here are many and seldom used. Cross-entropy has kernels of its own.
pub fn through_host<R>(
    tape: &mut Tape,
    scores: &Value,
    loss: impl FnOnce(&mut Tape, &Value) -> Result<(Value, R)>,
) -> Result<(Value, R)> {
    let (dtype, engine) = (scores.tensor().dtype(), Engine::of(scores.tensor())?);
    let mut own = Tape::new();
    let on_host = as_type(scores.tensor(), DType::F32)?.to_device(&Device::Cpu)?;
    let leaf = if scores.is_constant() { Value::constant(on_host) } else { own.leaf(on_host) };
    let (mean, rest) = loss(&mut own, &leaf)?;
    let value = engine.upload(mean.tensor())?;
    if scores.is_constant() {
        return Ok((Value::constant(value), rest));
    }
    let gradient = own.backward(&mean)?.take(&leaf);
    let gradient = gradient.map_or_else(|| Ok(leaf.tensor().zeros_like()?), Ok::<_, crate::Error>)?;
    let gradient = as_type(&engine.upload(&gradient)?, dtype)?;
    Ok((tape.record(&[scores], value, || super::ByGradient { gradient }), rest))
}

/// `gradient` times the number that `grad` is.
pub(super) fn scaled(gradient: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let engine = Engine::of(grad)?;
    let (out, to) = engine.tensor(gradient.dtype(), gradient.shape())?;
    let count = out.elem_count();
    let arguments = arguments![count as i64, address(gradient)?, address(grad)?, to];
    engine.numbers(&kernel("scale", out.dtype())?, count, arguments)?;
    Ok(out)
}
