//! Conversion of weights from file layout to kernel layout, and of their gradients back.

use candle_core::{DType, Tensor};

use super::Method;
use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;
use crate::ops::conv2d::geometry::ConvGeometry;

/// Converts weights [O, C / groups, kH, kW] to the layout and type of kernels: [O, kH, kW, C / groups]; [kH, kW,
/// C] for a depthwise convolution.
pub fn packed(geometry: &ConvGeometry, weight: &Tensor, dtype: DType) -> Result<Tensor> {
    let (outer, a, b) = axes(geometry);
    if (a == 1 || b == 1) && dtype == DType::F32 {
        return Ok(weight.clone());
    }
    swapped(&kernel("swap_axes_to", dtype)?, weight, dtype, [outer, a, b])
}

/// The inverse, for gradients; in f32.
pub fn unpacked(geometry: &ConvGeometry, weight: &Tensor) -> Result<Tensor> {
    let (outer, a, b) = axes(geometry);
    let shape = geometry.weight_shape();
    if (a == 1 || b == 1) && weight.dtype() == DType::F32 {
        return Ok(weight.reshape(shape.as_slice())?);
    }
    let name = match weight.dtype() {
        DType::F32 => kernel("swap_axes_to", DType::F32)?,
        other => kernel("swap_axes_from", other)?,
    };
    Ok(swapped(&name, weight, DType::F32, [outer, b, a])?.reshape(shape.as_slice())?)
}

/// Transposes weights from [outer, a, b] to [outer, b, a].
fn axes(geometry: &ConvGeometry) -> (usize, usize, usize) {
    match Method::of(geometry) {
        Method::Depthwise => (1, geometry.channels[1], geometry.taps()),
        _ => (geometry.channels[1], geometry.group_channels()[0], geometry.taps()),
    }
}

fn swapped(name: &str, x: &Tensor, dtype: DType, [outer, a, b]: [usize; 3]) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(dtype, (outer, b, a))?;
    let count = out.elem_count();
    engine.numbers(name, count, arguments![count as i64, a as i32, b as i32, address(x)?, to])?;
    Ok(out)
}
