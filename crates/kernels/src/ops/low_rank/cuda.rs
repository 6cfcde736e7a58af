//! Low-rank changes on CUDA.

use candle_core::{Device, Tensor};

use crate::cuda::Engine;
use crate::error::Result;
use crate::ops::layer_scale::cuda as layer_scale;
use crate::ops::linear::cuda as linear;

/// factor · x, in the type of x.
pub(super) fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    layer_scale::scaled(x, &gain(x, factor)?, None)
}

pub(super) fn low_rank_sum(weight: &Tensor, down: &Tensor, up: &Tensor, factor: f64) -> Result<Tensor> {
    // The product of a gradient with a weight is one of two plain matrices.
    let product = linear::input_gradient(up, down)?;
    layer_scale::scaled(&product, &gain(weight, factor)?, Some(weight))
}

/// The factor for each channel.
fn gain(x: &Tensor, factor: f64) -> Result<Tensor> {
    let channels = x.dim(candle_core::D::Minus1)?;
    let host = Tensor::full(factor as f32, channels, &Device::Cpu)?;
    Engine::of(x)?.upload(&host)
}
