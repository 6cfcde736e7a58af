//! Convolution: dense and grouped as matrix products, depthwise with its own kernels.
//!
//! The product is implicit: rows of patches are packed block by block from the [N, H, W, C] image, and the whole
//! im2col matrix never exists. The input gradient is a convolution of the output gradient with the flipped
//! weights, one for each phase of the stride. The weight gradient is a product over all output pixels, cut into
//! chunks by shape alone.

#[cfg(feature = "cuda")]
pub(super) mod cuda;
mod depthwise;
mod depthwise_gradient;
mod folded;
mod geometry;
mod gradient;
mod method;
mod op;
mod patches;
mod pointwise;
mod product;
#[cfg(test)]
mod tests;
mod weights;
mod winograd;

pub use folded::{FoldedConv, FoldedNorm};
pub use op::conv2d;
pub use pointwise::pointwise;
