//! The linear layer on CUDA: cuBLAS, then the bias.

use candle_core::{DType, Shape, Tensor};

use super::Linear;
use crate::cuda::{
    CublasProduct, Engine, Operand, address, arguments, as_type, column_sums, kernel, optional,
};
use crate::error::Result;

impl Linear {
    pub(super) fn gradients_on_cuda(&self, grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; wanted.len()];
        if let (true, Some(weight)) = (wanted[0], &self.weight) {
            gradients[0] = Some(input_gradient(grad, weight)?);
        }
        if let (true, Some(x)) = (wanted[1], &self.x) {
            gradients[1] = Some(weight_gradient(grad, x, &self.weight_shape)?);
        }
        if wanted.get(2) == Some(&true) {
            gradients[2] = Some(column_sums(grad)?);
        }
        Ok(gradients)
    }
}

/// x [rows, in] · weightᵀ + bias + residual.
pub fn forward(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let (outputs, dtype, engine) = (weight.dim(0)?, x.dtype(), Engine::of(x)?);
    let (out, to) = engine.tensor(dtype, (rows, outputs))?;
    let weight = as_type(weight, dtype)?;
    engine.product(&CublasProduct {
        dtype,
        dimensions: [rows, outputs, inputs],
        left: Operand::plain(address(x)?),
        right: Operand::transposed(address(&weight)?),
        out: to,
        accumulate: false,
    })?;
    if bias.is_some() || residual.is_some() {
        let count = out.elem_count();
        let [bias, residual] = [optional(bias)?, optional(residual)?];
        let arguments = arguments![count as i64, outputs as i32, to, bias, residual, 0i32];
        engine.numbers(&kernel("finish", dtype)?, count, arguments)?;
    }
    Ok(out)
}

pub fn input_gradient(grad: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, outputs) = grad.dims2()?;
    let (inputs, dtype, engine) = (weight.dim(1)?, grad.dtype(), Engine::of(grad)?);
    let (out, to) = engine.tensor(dtype, (rows, inputs))?;
    let weight = as_type(weight, dtype)?;
    engine.product(&CublasProduct {
        dtype,
        dimensions: [rows, inputs, outputs],
        left: Operand::plain(address(grad)?),
        right: Operand::plain(address(&weight)?),
        out: to,
        accumulate: false,
    })?;
    Ok(out)
}

pub fn weight_gradient(grad: &Tensor, x: &Tensor, shape: &Shape) -> Result<Tensor> {
    let (rows, outputs) = grad.dims2()?;
    let (inputs, dtype, engine) = (x.dim(1)?, grad.dtype(), Engine::of(grad)?);
    let (out, to) = engine.tensor(DType::F32, shape)?;
    let product = CublasProduct {
        dtype,
        dimensions: [outputs, inputs, rows],
        left: Operand::transposed(address(grad)?),
        right: Operand::plain(address(x)?),
        out: to,
        accumulate: false,
    };
    engine.products(&product, 1, DType::F32)?;
    Ok(out)
}
