//! Images times one factor per channel on CUDA.

use candle_core::Tensor;

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;

/// x [N, H, W, C] times scale [N, C].
pub fn product(x: &Tensor, scale: &Tensor, pixels: usize) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (_, channels) = scale.dims2()?;
    let (out, to) = engine.tensor(x.dtype(), x.shape())?;
    let count = x.elem_count();
    let arguments =
        arguments![count as i64, pixels as i32, channels as i32, address(x)?, address(scale)?, to];
    engine.numbers(&kernel("scale_channels", x.dtype())?, count, arguments)?;
    Ok(out)
}
