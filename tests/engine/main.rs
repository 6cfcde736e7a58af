//! The numbers themselves, through the library's doors: PyTorch's on real weights, and the same bits tomorrow; and the house they live in.

mod additions;
mod golden;
mod house;
mod parity;
mod paths;
mod recipes;
mod reproducibility;
