//! Resolves `auto`, `cpu` or `cuda:N` to a device and the name of its numeric profile.

use candle_core::Device;

use crate::error::{Error, Result};
use crate::ops::profile::Profile;

/// A device to compute on.
#[derive(Clone, Debug)]
pub struct DeviceChoice {
    pub device: Device,
    /// The numeric profile, part of a result's variant. All machines of one profile give the same bytes.
    pub variant: String,
    /// Whether the setting is `auto`, so that results of any profile may be reused.
    pub any: bool,
    /// Why an available GPU was not selected.
    pub note: Option<String>,
}

impl DeviceChoice {
    fn cpu(any: bool, note: Option<String>) -> Self {
        Self { device: Device::Cpu, variant: Profile::current().name().to_owned(), any, note }
    }

    /// The CPU in place of a GPU, with a note that says why, for the model of `whose` that no GPU computes.
    ///
    /// # Errors
    /// The setting names a GPU.
    pub fn without_gpus(self, whose: &str) -> Result<Self> {
        if self.device.is_cpu() {
            return Ok(self);
        }
        let why = format!("the encoder of {whose} runs on CPUs only");
        if self.any {
            return Ok(Self::cpu(true, Some(format!("computing on the CPU: {why}"))));
        }
        Err(Error::usage(why)
            .hint("set `device = \"cpu\"`; the only encoders that run on GPUs are those of DINOv2"))
    }
}

/// Resolves `setting` on this machine. `auto` is the first usable GPU, else the CPU.
///
/// # Errors
/// The build or the machine does not have the device.
pub fn choose(setting: &str) -> Result<DeviceChoice> {
    match setting {
        "cpu" => Ok(DeviceChoice::cpu(false, None)),
        "auto" => Ok(automatic()),
        _ => {
            let ordinal = setting.strip_prefix("cuda:").and_then(|number| number.parse().ok());
            let ordinal = ordinal.ok_or_else(|| {
                Error::usage(format!("unknown device `{setting}`")).hint("`auto`, `cpu` or `cuda:0`")
            })?;
            cuda(ordinal).map_err(|error| error.within(format!("cannot compute on `{setting}`")).as_usage())
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn automatic() -> DeviceChoice {
    DeviceChoice::cpu(true, None)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<DeviceChoice> {
    Err(Error::usage("this build computes on the CPU only")
        .hint("set `device = \"auto\"`, or build with CUDA (docs/cuda.md)"))
}

#[cfg(feature = "cuda")]
fn automatic() -> DeviceChoice {
    match cuda(0) {
        Ok(choice) => DeviceChoice { any: true, ..choice },
        Err(error) => DeviceChoice::cpu(true, Some(format!("computing on the CPU: {error}"))),
    }
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<DeviceChoice> {
    let (device, gpu) = crate::cuda::open(ordinal)?;
    gpu.capability.require_for_build(&gpu.name, crate::cuda::kernel_capability())?;
    crate::cuda::Engine::on(&device)?;
    let (versions, count) = (crate::cuda::versions()?, gpu.multiprocessors);
    let super::Capability { major, minor } = gpu.capability;
    let crate::cuda::Versions { cudnn, cublas, .. } = versions;
    // cuBLAS promises equal bits only for the same architecture and number of multiprocessors.
    let variant = format!("cuda sm_{major}{minor}x{count} cudnn {cudnn} cublas {cublas}");
    Ok(DeviceChoice { device, variant, any: false, note: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_what_auto_comes_to_without_a_gpu() {
        let [auto, cpu] = ["auto", "cpu"].map(|setting| choose(setting).unwrap());
        assert!(auto.any && !cpu.any && cpu.device.is_cpu() && cpu.note.is_none());
        assert_eq!(cpu.variant, Profile::current().name());
        assert!(choose("tpu").is_err());
        if let Err(error) = choose("cuda:0") {
            assert_eq!(error.kind, crate::error::ErrorKind::Usage);
            assert!(error.message.starts_with("cannot compute on `cuda:0`: ") && error.hint.is_some());
            assert_eq!(auto.note.is_some(), cfg!(feature = "cuda"));
        }
    }
}
