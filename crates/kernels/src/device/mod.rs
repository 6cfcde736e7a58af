//! Resolves the `device` of a file or command line on this machine, and moves tensors there. It never computes.

mod choice;
mod memory;
mod place;

pub use choice::{Choice, choose};
pub use memory::{Gauge, explained, full, gigabytes};
pub use place::{on_host, placed, through_bf16};
