//! Differentiable operations on CPUs and CUDA, the tape that records them, and the devices they run on.

pub mod autograd;
mod capability;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod ops;

use defrost_base::{code_path, error, random};
