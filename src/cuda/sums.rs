//! The sum of two tensors, which the tape needs as well.

use candle_core::Tensor;

use super::{Engine, address, arguments, kernel};
use crate::error::Result;

/// left + right, of one shape.
pub fn add(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let engine = Engine::of(left)?;
    let (out, to) = engine.tensor(left.dtype(), left.shape())?;
    let count = left.elem_count();
    let arguments = arguments![count as i64, address(left)?, address(right)?, to];
    engine.numbers(&kernel("add", left.dtype())?, count, arguments)?;
    Ok(out)
}

/// sum ← sum + addend, under everyone who holds `sum`.
pub fn add_in_place(sum: &Tensor, addend: &Tensor) -> Result<()> {
    let (engine, count) = (Engine::of(sum)?, sum.elem_count());
    let arguments = arguments![count as i64, address(sum)?, address(addend)?, address(sum)?];
    engine.numbers(&kernel("add", sum.dtype())?, count, arguments)
}
