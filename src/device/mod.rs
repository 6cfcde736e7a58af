//! Where tensors are computed: what `device` in a file or on the command line comes to on this machine.

mod choice;
mod memory;
mod place;
mod precision;

pub use choice::{Choice, choose};
pub use memory::{Gauge, explained, full, gigabytes};
pub use place::{on_host, placed};
pub use precision::{Products, products, rounded, through_bf16};
