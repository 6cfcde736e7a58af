//! Where tensors are computed: what `device` in a file or on the command line comes to on this machine.

mod choice;
mod memory;
mod place;

pub use choice::{Choice, choose};
pub use memory::{Gauge, explained, full, gigabytes};
pub use place::{on_host, placed, through_bf16};
