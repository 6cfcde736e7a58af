//! Resolves the `device` of a file or command line on this machine, and moves tensors there. It never computes.

mod choice;
mod memory;
mod transfer;

pub use choice::{DeviceChoice, choose};
pub use memory::{GpuMemory, exhausted_gpu, explain_out_of_memory, gigabytes};
pub use transfer::{round_to_bf16, to_device, to_host};

pub use crate::capability::Capability;
