//! The numeric precision of training steps.

#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{Device, Tensor};

use crate::autograd::Tape;
use crate::device::Capability;
use crate::error::{Error, Result};
use crate::model::Outputs;
use crate::ops;
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
        let (gpu, capability) = engine.gpu()?;
        require_support(precision, &gpu, capability)?;
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

/// The precisions that GPUs of this capability train in. bfloat16 and TF32 begin with Ampere.
pub fn precisions(capability: Capability) -> impl Iterator<Item = Precision> {
    let all = [Precision::F32, Precision::Tf32, Precision::Bf16, Precision::F16];
    let supports = move |precision: &Precision| match precision {
        Precision::F32 | Precision::F16 => capability >= Capability::OLDEST,
        Precision::Tf32 | Precision::Bf16 => capability >= Capability::AMPERE,
    };
    all.into_iter().filter(supports)
}

/// The precision that halves the memory of activations on GPUs of this capability.
pub fn half_precision(capability: Capability) -> Option<Precision> {
    precisions(capability).find(|precision| [Precision::Bf16, Precision::F16].contains(precision))
}

/// Refuses a precision that the GPU `gpu` does not support.
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
fn require_support(precision: Precision, gpu: &str, capability: Capability) -> Result<()> {
    if precisions(capability).any(|supported| supported == precision) {
        return Ok(());
    }
    let (generation, precision, needed) = (capability.generation(), precision.name(), Capability::AMPERE);
    Err(Error::usage(format!(
        "`{gpu}` ({generation}, compute capability {capability}) does not train in `{precision}`, which needs {needed}"
    ))
    .hint("set `precision = \"f16\"`, which it supports, or remove `precision`"))
}

/// Converts activations to the type that training in `precision` uses.
pub fn round_to(x: &Tensor, precision: Precision) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        match precision {
            Precision::Bf16 => return crate::cuda::as_type(x, DType::BF16),
            Precision::F16 => return crate::cuda::as_type(x, DType::F16),
            Precision::F32 | Precision::Tf32 => {}
        }
    }
    _ = precision;
    Ok(x.clone())
}

/// The outputs of a network as a loss takes them: in f16, the gradients of a loss would vanish before they are scaled, so
/// the loss is computed in f32.
pub fn of_loss(tape: &mut Tape, outputs: Outputs, precision: Precision) -> Result<Outputs> {
    match precision {
        Precision::F16 => outputs.map_values(|output| ops::in_f32(tape, output)),
        Precision::F32 | Precision::Tf32 | Precision::Bf16 => Ok(outputs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turing_has_no_bf16_and_the_error_names_f16() {
        let names = |capability| precisions(capability).map(Precision::name).collect::<Vec<_>>();
        let (volta, turing) = (Capability::new(7, 0), Capability::new(7, 5));
        assert_eq!(names(turing), ["f32", "f16"]);
        assert_eq!(names(Capability::new(8, 6)), ["f32", "tf32", "bf16", "f16"]);
        assert!(names(volta).is_empty());
        let halves = [turing, Capability::AMPERE].map(half_precision);
        assert_eq!(halves, [Some(Precision::F16), Some(Precision::Bf16)]);
        let error = require_support(Precision::Bf16, "Tesla T4", turing).unwrap_err();
        assert_eq!(
            error.message,
            "`Tesla T4` (Turing, compute capability 7.5) does not train in `bf16`, which needs 8.0"
        );
        assert!(error.hint.unwrap().contains("`precision = \"f16\"`"));
        assert!(require_support(Precision::F16, "Tesla T4", turing).is_ok());
    }

    #[test]
    fn a_cpu_refuses_what_it_does_not_compute_in() {
        assert!(set_matmul_precision(&Device::Cpu, Precision::F32).is_ok());
        for precision in [Precision::Tf32, Precision::Bf16, Precision::F16] {
            let error = set_matmul_precision(&Device::Cpu, precision).err().unwrap();
            let message = format!("CPUs do not train in `{}`", precision.name());
            assert_eq!((error.kind, error.message), (crate::error::ErrorKind::Usage, message));
        }
    }
}
