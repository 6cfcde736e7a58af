//! Every profile against sums written out in f64 and against PyTorch; samples against themselves in other batches;
//! finite differences through the tape.

mod kernels;
mod reference;
mod uses;
