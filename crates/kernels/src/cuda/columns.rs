//! Column sums over all rows, in f64. The shape alone decides how rows are split. Used for gradients of
//! parameters shared by all rows.

use candle_core::{DType, Tensor};

use super::engine::{Address, Engine, address, optional};
use super::launch::{RowChunks, arguments, kernel};
use crate::error::Result;

/// Σ over the rows of `grad` [.., columns], in f32.
pub fn column_sums(grad: &Tensor) -> Result<Tensor> {
    let name = kernel("column_sums", grad.dtype())?;
    summed(grad, |engine, [rows, columns], chunks, partial| {
        let arguments = arguments![rows as i64, columns as i32, chunks.rows, address(grad)?, partial];
        engine.columns(&name, columns, [chunks.count as usize, 1], arguments)
    })
}

/// Σ over the rows of `grad` · x [.., columns], in f32. If there are moments, x is normalized row by row.
pub fn column_products(grad: &Tensor, x: &Tensor, moments: Option<&Tensor>) -> Result<Tensor> {
    let (name, moments) = (kernel("column_products", grad.dtype())?, optional(moments)?);
    summed(grad, |engine, [rows, columns], chunks, partial| {
        let [grad, x] = [address(grad)?, address(x)?];
        let arguments = arguments![rows as i64, columns as i32, chunks.rows, grad, x, moments, partial];
        engine.columns(&name, columns, [chunks.count as usize, 1], arguments)
    })
}

/// The sum of the partial sums that `parts` writes for chunks of rows.
fn summed(
    x: &Tensor,
    parts: impl FnOnce(&Engine, [usize; 2], RowChunks, Address) -> Result<()>,
) -> Result<Tensor> {
    let columns = x.dims().last().copied().unwrap_or(1);
    let (rows, engine) = (x.elem_count() / columns.max(1), Engine::of(x)?);
    let chunks = RowChunks::of(rows, columns);
    let partial = engine.buffer::<f64>(chunks.count as usize * columns)?;
    let (out, to) = engine.tensor(DType::F32, columns)?;
    let sums = engine.address(&partial);
    parts(&engine, [rows, columns], chunks, sums)?;
    engine.columns("total", columns, [1, 1], arguments![columns as i64, chunks.count, sums, to])?;
    Ok(out)
}
