//! Averages over pixels on CUDA.

use candle_core::Tensor;

use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;

/// `share` · Σ x over the pixels of each image, multiplied by `y` if given: [N, H, W, C] to [N, C].
pub fn pixel_sums(x: &Tensor, y: Option<&Tensor>, share: f64) -> Result<Tensor> {
    let (images, height, width, channels) = x.dims4()?;
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), (images, channels))?;
    let other = crate::cuda::optional(y)?;
    let arguments = arguments![(height * width) as i32, channels as i32, address(x)?, other, share, to];
    engine.columns(&kernel("pixel_sums", x.dtype())?, channels, [images, 1], arguments)?;
    Ok(out)
}

/// The gradient of an average over images of this size, from [N, C] to [N, H, W, C].
pub fn spread(grad: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (images, channels) = grad.dims2()?;
    let engine = Engine::of(grad)?;
    let (out, to) = engine.tensor(grad.dtype(), (images, height, width, channels))?;
    let (count, pixels) = (out.elem_count(), height * width);
    let share = (1.0 / pixels as f64) as f32;
    let arguments = arguments![count as i64, pixels as i32, channels as i32, address(grad)?, share, to];
    engine.numbers(&kernel("spread", grad.dtype())?, count, arguments)?;
    Ok(out)
}
