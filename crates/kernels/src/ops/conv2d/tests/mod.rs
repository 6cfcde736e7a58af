//! Every profile against f64 sums and PyTorch; images in different batches against each other; finite
//! differences through the tape.

mod kernels;
mod reference;
mod uses;
