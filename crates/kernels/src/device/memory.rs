//! GPU memory use, and the explanation of out-of-memory errors.

use candle_core::Device;

use super::Capability;
use crate::error::{Error, ErrorKind};

/// Measures the GPU memory that this process uses.
pub struct GpuMemory {
    #[cfg(feature = "cuda")]
    engine: std::sync::Arc<crate::cuda::Engine>,
}

impl GpuMemory {
    /// None for a CPU.
    pub fn of(device: &Device) -> Option<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return Some(Self { engine: crate::cuda::Engine::on(device).ok()? });
        }
        _ = device;
        None
    }

    /// The bytes in use after all launched work is done. Resets the peak.
    pub fn reset_peak(&self) -> u64 {
        #[cfg(feature = "cuda")]
        return self.engine.reset_peak_memory().unwrap_or(0);
        #[cfg(not(feature = "cuda"))]
        0
    }

    /// The peak of bytes in use since [`GpuMemory::reset_peak`], or since the start.
    pub fn peak(&self) -> u64 {
        #[cfg(feature = "cuda")]
        return self.engine.peak_memory().unwrap_or(0);
        #[cfg(not(feature = "cuda"))]
        0
    }

    /// The compute capability of the GPU, if the driver says it.
    pub fn capability(&self) -> Option<Capability> {
        #[cfg(feature = "cuda")]
        return Some(self.engine.gpu().ok()?.1);
        #[cfg(not(feature = "cuda"))]
        None
    }

    /// The bytes that this process holds or can still allocate.
    pub fn available(&self) -> u64 {
        #[cfg(feature = "cuda")]
        return self.engine.available_memory().unwrap_or(0);
        #[cfg(not(feature = "cuda"))]
        0
    }
}

/// The GPU that is out of memory, if that is the error's cause. An error that already has an explanation has no
/// cause.
pub fn exhausted_gpu(error: &Error, device: &Device) -> Option<GpuMemory> {
    let of_library = error.kind == ErrorKind::OutOfMemory && std::error::Error::source(error).is_some();
    if of_library { GpuMemory::of(device) } else { None }
}

/// Explains an error of an inference pass if the GPU is out of memory.
pub fn explain_out_of_memory(error: Error, device: &Device) -> Error {
    let Some(gauge) = exhausted_gpu(&error, device) else { return error };
    Error::out_of_memory(format!(
        "the GPU's memory is full: activations need more than {}, of {}",
        gigabytes(gauge.peak()),
        gigabytes(gauge.available()),
    ))
    .hint("try a smaller `image_size`; the last checkpoint is kept")
}

/// Formats a number of bytes.
pub fn gigabytes(bytes: u64) -> String {
    format!("{:.3} GB", bytes as f64 / 1e9)
}
