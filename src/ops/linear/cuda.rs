//! The linear layer on CUDA: cuBLAS, and the bias at the end.

use candle_core::{DType, Shape, Tensor};

use super::Linear;
use crate::cuda::{Chunks, Engine, Operand, Product, address, arguments, as_type, kernel};
use crate::error::Result;

impl Linear {
    pub(super) fn gradients_on_cuda(&self, grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; wanted.len()];
        if let (true, Some(weight)) = (wanted[0], &self.weight) {
            gradients[0] = Some(towards_x(grad, weight)?);
        }
        if let (true, Some(x)) = (wanted[1], &self.x) {
            gradients[1] = Some(towards_weight(grad, x, &self.weight_shape)?);
        }
        if wanted.get(2) == Some(&true) {
            gradients[2] = Some(column_sums(grad)?);
        }
        Ok(gradients)
    }
}

pub fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let (outputs, dtype, engine) = (weight.dim(0)?, x.dtype(), Engine::of(x)?);
    let (out, to) = engine.tensor(dtype, (rows, outputs))?;
    let weight = as_type(weight, dtype)?;
    engine.product(&Product {
        dtype,
        dimensions: [rows, outputs, inputs],
        left: Operand::plain(address(x)?),
        right: Operand::transposed(address(&weight)?),
        out: to,
        accumulate: false,
    })?;
    if let Some(bias) = bias {
        let count = out.elem_count();
        let arguments = arguments![count as i64, outputs as i32, to, address(bias)?, 0u64, 0i32];
        engine.numbers(&kernel("finish", dtype)?, count, arguments)?;
    }
    Ok(out)
}

fn towards_x(grad: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, outputs) = grad.dims2()?;
    let (inputs, dtype, engine) = (weight.dim(1)?, grad.dtype(), Engine::of(grad)?);
    let (out, to) = engine.tensor(dtype, (rows, inputs))?;
    let weight = as_type(weight, dtype)?;
    engine.product(&Product {
        dtype,
        dimensions: [rows, inputs, outputs],
        left: Operand::plain(address(grad)?),
        right: Operand::plain(address(&weight)?),
        out: to,
        accumulate: false,
    })?;
    Ok(out)
}

fn towards_weight(grad: &Tensor, x: &Tensor, shape: &Shape) -> Result<Tensor> {
    let (rows, outputs) = grad.dims2()?;
    let (inputs, dtype, engine) = (x.dim(1)?, grad.dtype(), Engine::of(grad)?);
    let (out, to) = engine.tensor(dtype, shape)?;
    engine.product(&Product {
        dtype,
        dimensions: [outputs, inputs, rows],
        left: Operand::transposed(address(grad)?),
        right: Operand::plain(address(x)?),
        out: to,
        accumulate: false,
    })?;
    as_type(&out, DType::F32)
}

/// Σ over the rows of `grad` [.., columns]: the gradient of a bias, in f32.
pub fn column_sums(grad: &Tensor) -> Result<Tensor> {
    let columns = grad.dims().last().copied().unwrap_or(1);
    let (rows, engine) = (grad.elem_count() / columns.max(1), Engine::of(grad)?);
    let Chunks { rows: chunk, count } = Chunks::of(rows, columns);
    let partial = engine.buffer::<f64>(count as usize * columns)?;
    let (out, to) = engine.tensor(DType::F32, columns)?;
    let sums = engine.address(&partial);
    let arguments = arguments![rows as i64, columns as i32, chunk, address(grad)?, sums];
    engine.columns(&kernel("column_sums", grad.dtype())?, columns, [count as usize, 1], arguments)?;
    engine.columns("total", columns, [1, 1], arguments![columns as i64, count, sums, to])?;
    Ok(out)
}
