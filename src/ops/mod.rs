//! The differentiable operations: one file each, the CPU half beside it, the CUDA half to come beside that.
//!
//! Activations are contiguous and channels-last, [N, H, W, C] or [N, C]; convolution weights are [O, I, kH, kW] as in
//! the files they come from. f32 is the working type; every operation also runs in f64, which the tests lean on.
//!
//! What an operation promises: a row of its result in inference depends on neither batch size, position in the batch,
//! nor threads; a result in training depends on no thread count. Work is cut by shape alone.

pub mod conv2d;
pub mod float;
pub mod gemm;
pub mod profile;

/// How a window moves over an image: stride, and zero padding on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// top, left, bottom, right
    pub padding: [usize; 4],
}

/// The activation fused into a normalisation or a folded convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Relu6,
}
