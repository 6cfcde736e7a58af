//! Channels put side by side and taken apart on CUDA.

use candle_core::Tensor;

use super::leading;
use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;

pub(super) fn joined(parts: &[&Tensor]) -> Result<Tensor> {
    let width_of = |part: &Tensor| part.dims()[part.rank() - 1];
    let (engine, dtype) = (Engine::of(parts[0])?, parts[0].dtype());
    let width: usize = parts.iter().map(|part| width_of(part)).sum();
    let (out, to) = engine.tensor(dtype, [leading(parts[0]), &[width]].concat())?;
    let name = kernel("insert", dtype)?;
    let mut first = 0;
    for part in parts {
        let [inner, outer, offset] = [width_of(part), width, first].map(|size| size as i32);
        let count = part.elem_count();
        engine.numbers(&name, count, arguments![count as i64, inner, outer, offset, address(part)?, to])?;
        first += width_of(part);
    }
    Ok(out)
}

/// From each of x's `rows`, the numbers from `first` on, as many as `shape` needs.
pub(super) fn part(x: &Tensor, rows: usize, first: usize, shape: &[usize]) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), shape)?;
    let count = out.elem_count();
    let sizes = [count / rows.max(1), x.elem_count() / rows.max(1), first];
    let [inner, outer, offset] = sizes.map(|size| size as i32);
    let arguments = arguments![count as i64, inner, outer, offset, address(x)?, to];
    engine.numbers(&kernel("take", x.dtype())?, count, arguments)?;
    Ok(out)
}
