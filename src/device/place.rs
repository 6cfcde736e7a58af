//! The way of a tensor to where it is computed with.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// The tensor on `device`; one that is there already as it is. Batches go to a GPU beside what it computes.
pub fn placed(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() && tensor.device().is_cpu() && tensor.dtype() == candle_core::DType::F32 {
        return crate::cuda::Engine::on(device)?.upload(tensor);
    }
    Ok(tensor.to_device(device)?)
}

/// The tensor in f64, where its numbers can be read.
pub fn on_host(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(candle_core::DType::F64)?)
}
