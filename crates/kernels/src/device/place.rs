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

/// f32 as it comes back from where it is kept as bfloat16.
pub fn through_bf16(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::as_type(
            &crate::cuda::as_type(x, candle_core::DType::BF16)?,
            candle_core::DType::F32,
        );
    }
    Ok(x.to_dtype(candle_core::DType::BF16)?.to_dtype(candle_core::DType::F32)?)
}
