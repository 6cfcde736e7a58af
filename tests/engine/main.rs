//! The numbers themselves, through the library's doors: PyTorch's on real weights, and the same bits tomorrow.

mod golden;
mod parity;
mod paths;
