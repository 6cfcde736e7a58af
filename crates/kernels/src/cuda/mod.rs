//! NVIDIA GPU support for the operations: libraries, devices, memory, kernel launches, cuBLAS and cuDNN. Only in
//! builds with the `cuda` feature.
//!
//! Nothing is linked: NVIDIA's libraries are opened at run time, so one binary serves machines with and without
//! them. This module launches work; the GPU half of each operation is in `ops`, next to its CPU half.

mod blas;
mod columns;
mod convolution;
mod device;
mod elementwise;
mod engine;
mod launch;
mod library;
mod memory;
mod readback;
mod rows;
mod signatures;
mod upload;

pub use blas::{CublasProduct, Operand};
pub use columns::{column_products, column_sums};
pub use convolution::{Convolution, ConvolutionPass};
pub use device::{Gpu, Versions, gpus, open, versions};
pub use elementwise::{add, add_in_place, as_type, scaled};
pub use engine::{Address, Engine, MatmulSettings, address, kernel_capability, optional};
pub use launch::{Arguments, ImageFrame, RowChunks, WindowGrid, kernel};
pub use library::{Library, libraries, require_libraries};
pub use readback::{Readback, read_back};
pub use rows::{block, concatenate};
pub use signatures::{KernelArgument, Pointee};

pub use launch::arguments;
pub use signatures::argument;
