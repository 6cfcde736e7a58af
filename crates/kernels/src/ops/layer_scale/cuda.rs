//! Layer scale on CUDA.

use candle_core::Tensor;

use super::LayerScale;
use crate::cuda::{Engine, address, arguments, column_products, kernel, optional};
use crate::error::Result;

/// residual + gain · x; gain · x without a residual.
pub fn scaled(x: &Tensor, gain: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    let (engine, count) = (Engine::of(x)?, x.elem_count());
    let (out, to) = engine.tensor(x.dtype(), x.shape())?;
    let channels = gain.elem_count() as i32;
    let arguments = arguments![count as i64, channels, address(x)?, address(gain)?, optional(residual)?, to];
    engine.numbers(&kernel("layer_scale", x.dtype())?, count, arguments)?;
    Ok(out)
}

impl LayerScale {
    pub(super) fn gradients_on_cuda(&self, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let towards_x = self.gain.as_ref().filter(|_| wanted[0]).map(|gain| scaled(&grad, gain, None));
        let towards_gain =
            self.x.as_ref().filter(|_| wanted[1]).map(|x| -> Result<Tensor> {
                Ok(column_products(&grad, x, None)?.reshape(self.shape.clone())?)
            });
        Ok(vec![towards_x.transpose()?, towards_gain.transpose()?, wanted[2].then_some(grad)])
    }
}
