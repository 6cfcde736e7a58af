//! Every operation on CUDA beside its CPU half, in f32 and in bf16. They ask for a GPU, or for the emulated one of
//! tests/cuda/emulated: `cuda/cargo test --lib -- --ignored cuda`.

mod check;
mod exact;
mod images;
mod losses;
mod norms;
mod transformers;
