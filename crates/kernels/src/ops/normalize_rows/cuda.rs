//! Rows scaled to a given length on CUDA.

use candle_core::Tensor;

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;

pub(super) fn scaled(x: &Tensor, length: f64) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), x.shape())?;
    let arguments = arguments![columns as i32, address(x)?, length, to];
    engine.rows(&kernel("normalize_rows", x.dtype())?, rows, arguments)?;
    Ok(out)
}

pub(super) fn gradient(x: &Tensor, grad: &Tensor, length: f64) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), x.shape())?;
    let arguments = arguments![columns as i32, address(x)?, address(grad)?, length, to];
    engine.rows(&kernel("normalize_rows_gradient", x.dtype())?, rows, arguments)?;
    Ok(out)
}
