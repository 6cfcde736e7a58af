//! Elementwise operations used by the tape and other modules: sums, scaling and type conversion.

use candle_core::{DType, Tensor};

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

/// sum ← sum + addend, in place: every reference to `sum` sees the change.
pub fn add_in_place(sum: &Tensor, addend: &Tensor) -> Result<()> {
    let (engine, count) = (Engine::of(sum)?, sum.elem_count());
    let arguments = arguments![count as i64, address(sum)?, address(addend)?, address(sum)?];
    engine.numbers(&kernel("add", sum.dtype())?, count, arguments)
}

/// factor · x, in f32.
pub fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    let (engine, count) = (Engine::of(x)?, x.elem_count());
    let (out, to) = engine.tensor(DType::F32, x.shape())?;
    engine.numbers("scaled", count, arguments![count as i64, address(x)?, factor as f32, to])?;
    Ok(out)
}

/// The same values in f32, or f32 values in bf16 or f16, rounded to nearest.
pub fn as_type(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(dtype, x.shape())?;
    let name = if dtype == DType::F32 { kernel("from", x.dtype())? } else { kernel("to", dtype)? };
    engine.numbers(&name, x.elem_count(), arguments![x.elem_count() as i64, address(x)?, to])?;
    Ok(out)
}
