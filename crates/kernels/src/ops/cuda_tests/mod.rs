//! Every CUDA operation against its CPU half, in f32, bf16 and f16. These tests need a GPU, or the emulated one of
//! tests/cuda/emulated: `cuda/cargo test --lib -- --ignored cuda`.

mod check;
mod detection;
mod exact;
mod images;
mod losses;
mod norms;
mod transformers;
