//! What runs on an NVIDIA GPU below the operations: the libraries and devices that are there, memory, kernels, cuBLAS and
//! cuDNN. In builds with the `cuda` feature alone.
//!
//! Nothing is linked: NVIDIA's libraries are opened while running, so that one binary serves machines with and without
//! them. The room knows no operation's mathematics, only how to have it computed.

mod device;
mod library;

pub use device::{Gpu, Versions, gpus, open, versions};
pub use library::{Library, libraries, require_libraries};
