//! Where tensors are computed: what `device` in a file or on the command line comes to on this machine.

mod choice;

pub use choice::{Choice, choose};
