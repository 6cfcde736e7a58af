//! Moves tensors between host and device.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// The tensor on `device`; unchanged if it is already there. The copy of a batch overlaps with computation.
pub fn to_device(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() && tensor.device().is_cpu() && tensor.dtype() == candle_core::DType::F32 {
        return crate::cuda::Engine::on(device)?.upload(tensor);
    }
    Ok(tensor.to_device(device)?)
}

/// The tensor in f64 on the host.
pub fn to_host(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(candle_core::DType::F64)?)
}

/// Rounds f32 values to bfloat16 and back.
pub fn round_to_bf16(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::as_type(
            &crate::cuda::as_type(x, candle_core::DType::BF16)?,
            candle_core::DType::F32,
        );
    }
    Ok(x.to_dtype(candle_core::DType::BF16)?.to_dtype(candle_core::DType::F32)?)
}
