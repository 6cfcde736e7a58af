//! The numbers that a training step computes with.

#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::pipeline::Precision;

/// While it lives, products of f32 on its device are computed as asked for; then as f32 again.
pub struct Products {
    #[cfg(feature = "cuda")]
    engine: Option<std::sync::Arc<crate::cuda::Engine>>,
}

/// Has products on `device` computed in `precision`.
///
/// # Errors
/// A precision that the device does not compute in.
pub fn products(device: &Device, precision: Precision) -> Result<Products> {
    if precision == Precision::F32 {
        return Ok(Products {
            #[cfg(feature = "cuda")]
            engine: None,
        });
    }
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        let engine = crate::cuda::Engine::on(device)?;
        engine.set(crate::cuda::Settings { tf32: precision == Precision::Tf32 });
        return Ok(Products { engine: Some(engine) });
    }
    _ = device;
    Err(refusal(precision))
}

#[cfg(feature = "cuda")]
impl Drop for Products {
    fn drop(&mut self) {
        if let Some(engine) = &self.engine {
            engine.set(crate::cuda::Settings::default());
        }
    }
}

/// What is said where a CPU is asked for what it does not compute in.
pub fn refusal(precision: Precision) -> Error {
    Error::usage(format!("CPUs do not train in `{}`", precision.name()))
        .hint("use a GPU with `--device cuda:0`, or remove `precision`")
}

/// Activations in the type that a training step in `precision` has for them.
pub fn rounded(x: &Tensor, precision: Precision) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if precision == Precision::Bf16 && x.device().is_cuda() {
        return crate::cuda::as_type(x, DType::BF16);
    }
    _ = precision;
    Ok(x.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_refuses_what_it_does_not_compute_in() {
        assert!(products(&Device::Cpu, Precision::F32).is_ok());
        let error = products(&Device::Cpu, Precision::Bf16).err().unwrap();
        assert_eq!((error.kind, &*error.message), (crate::error::Kind::Usage, "CPUs do not train in `bf16`"));
    }
}
