//! Maps of twice the size on CUDA.

use candle_core::Tensor;

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;

/// Runs a kernel that makes images of `shape` [N, H, W, C].
pub(super) fn resized(x: &Tensor, name: &str, shape: [usize; 4]) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), shape.as_slice())?;
    let (count, [_, height, width, channels]) = (out.elem_count(), shape.map(|size| size as i32));
    let arguments = arguments![count as i64, channels, height, width, address(x)?, to];
    engine.numbers(&kernel(name, x.dtype())?, count, arguments)?;
    Ok(out)
}
