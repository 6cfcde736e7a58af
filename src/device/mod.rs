//! Where tensors are computed: what `device` in a file or on the command line comes to on this machine.

mod choice;
mod place;

pub use choice::{Choice, choose};
pub use place::placed;
