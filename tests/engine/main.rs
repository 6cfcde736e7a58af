//! Numeric tests through the library's public interface: PyTorch's results on real weights, stable bits, and the
//! layering of the code.

mod additions;
mod golden;
mod layering;
mod parity;
mod paths;
mod recipes;
mod reproducibility;
