//! A GPU's memory: how much is in use, and what is said where it is too small.

use candle_core::Device;

use crate::error::{Error, Kind};

/// Counts the bytes of a GPU that this process uses.
pub struct Gauge {
    #[cfg(feature = "cuda")]
    engine: std::sync::Arc<crate::cuda::Engine>,
}

impl Gauge {
    /// None for a CPU.
    pub fn of(device: &Device) -> Option<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return Some(Self { engine: crate::cuda::Engine::on(device).ok()? });
        }
        _ = device;
        None
    }

    /// The bytes in use once all that was launched is done; from now on the most of them is watched.
    pub fn watch(&self) -> u64 {
        #[cfg(feature = "cuda")]
        return self.engine.watch_memory().unwrap_or(0);
        #[cfg(not(feature = "cuda"))]
        0
    }

    /// The most bytes that were in use since [`Gauge::watch`], or ever.
    pub fn peak(&self) -> u64 {
        #[cfg(feature = "cuda")]
        return self.engine.most_memory().unwrap_or(0);
        #[cfg(not(feature = "cuda"))]
        0
    }

    /// The bytes that this process has or may still get.
    pub fn to_be_had(&self) -> u64 {
        #[cfg(feature = "cuda")]
        return self.engine.memory_to_be_had().unwrap_or(0);
        #[cfg(not(feature = "cuda"))]
        0
    }
}

/// The gauge of a GPU whose memory was too small, as its libraries say: they are the error's cause. One that was explained
/// has words of its own, and no cause.
pub fn full(error: &Error, device: &Device) -> Option<Gauge> {
    let of_library = error.kind == Kind::OutOfMemory && std::error::Error::source(error).is_some();
    if of_library { Gauge::of(device) } else { None }
}

/// An error of images on their way through a network, which says so where memory was too small for them.
pub fn explained(error: Error, device: &Device) -> Error {
    let Some(gauge) = full(&error, device) else { return error };
    Error::out_of_memory(format!(
        "the GPU's memory is full: activations need more than {}, of {}",
        gigabytes(gauge.peak()),
        gigabytes(gauge.to_be_had()),
    ))
    .hint("try a smaller `image_size`; the last checkpoint is kept")
}

/// Bytes in words.
pub fn gigabytes(bytes: u64) -> String {
    format!("{:.3} GB", bytes as f64 / 1e9)
}
