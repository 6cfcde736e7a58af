//! Operations that the host computes for every device: tensors of a GPU are copied there, and results back.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// The tensor on the host, itself if it is there; that of a GPU in f32. Blocks until a GPU has computed it.
pub fn on_host(tensor: &Tensor) -> Result<Tensor> {
    match tensor.device().is_cpu() {
        true => Ok(tensor.clone()),
        false => Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?),
    }
}

/// A scalar loss of the host on the device of `like`; on a GPU in f32.
pub fn loss_like(loss: &Tensor, like: &Tensor) -> Result<Tensor> {
    Ok(loss.to_device(like.device())?)
}

/// A gradient of the host on the device of `like`, in its type.
pub fn gradient_like(gradient: &Tensor, like: &Tensor) -> Result<Tensor> {
    Ok(gradient.to_dtype(like.dtype())?.to_device(like.device())?)
}
