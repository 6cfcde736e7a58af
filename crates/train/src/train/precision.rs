//! The numeric precision of training steps.

#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::pipeline::Precision;

/// Sets the precision of f32 matrix products on its device. Dropping it restores f32.
pub struct MatmulPrecision {
    #[cfg(feature = "cuda")]
    engine: Option<std::sync::Arc<crate::cuda::Engine>>,
}

/// Computes matrix products on `device` in `precision`.
///
/// # Errors
/// The device does not support the precision.
pub fn set_matmul_precision(device: &Device, precision: Precision) -> Result<MatmulPrecision> {
    if precision == Precision::F32 {
        return Ok(MatmulPrecision {
            #[cfg(feature = "cuda")]
            engine: None,
        });
    }
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        let engine = crate::cuda::Engine::on(device)?;
        engine.set_matmul(crate::cuda::MatmulSettings { tf32: precision == Precision::Tf32 });
        return Ok(MatmulPrecision { engine: Some(engine) });
    }
    _ = device;
    Err(unsupported(precision))
}

#[cfg(feature = "cuda")]
impl Drop for MatmulPrecision {
    fn drop(&mut self) {
        if let Some(engine) = &self.engine {
            engine.set_matmul(crate::cuda::MatmulSettings::default());
        }
    }
}

/// The error for a precision that a CPU does not support.
pub fn unsupported(precision: Precision) -> Error {
    Error::usage(format!("CPUs do not train in `{}`", precision.name()))
        .hint("use a GPU with `--device cuda:0`, or remove `precision`")
}

/// Converts activations to the type that training in `precision` uses.
pub fn round_to(x: &Tensor, precision: Precision) -> Result<Tensor> {
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
        assert!(set_matmul_precision(&Device::Cpu, Precision::F32).is_ok());
        let error = set_matmul_precision(&Device::Cpu, Precision::Bf16).err().unwrap();
        assert_eq!(
            (error.kind, &*error.message),
            (crate::error::ErrorKind::Usage, "CPUs do not train in `bf16`")
        );
    }
}
