//! The linear layer over many rows on CUDA.

use candle_core::Tensor;

use super::Pointwise;
use crate::cuda::column_sums;
use crate::error::Result;
use crate::ops::linear::cuda::{self as linear, input_gradient, weight_gradient};

/// Reshapes rows [.., in] to [rows, out].
pub(super) fn forward([x, weight, bias]: [&Tensor; 3], residual: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let residual = residual.map(|residual| residual.reshape(((), outputs))).transpose()?;
    linear::forward(&x.reshape(((), inputs))?, weight, Some(bias), residual.as_ref())
}

impl Pointwise {
    pub(super) fn gradients_on_cuda(&self, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [x_shape, weight_shape] = &self.shapes;
        let [inputs, outputs] = self.geometry.channels;
        let rows = grad.reshape(((), outputs))?;
        let mut result = vec![None; wanted.len()];
        if let (true, Some(weight)) = (wanted[0], &self.weight) {
            result[0] = Some(input_gradient(&rows, weight)?.reshape(x_shape)?);
        }
        if let (true, Some(x)) = (wanted[1], &self.x) {
            result[1] = Some(weight_gradient(&rows, &x.reshape(((), inputs))?, weight_shape)?);
        }
        if wanted[2] {
            result[2] = Some(column_sums(&rows)?);
        }
        if wanted.get(3) == Some(&true) {
            result[3] = Some(grad);
        }
        Ok(result)
    }
}
