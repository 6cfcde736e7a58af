//! Convolution with 3×3 kernels and stride 1 by F(2×2, 3×3): 16 products for each 4 outputs instead of 36.
//!
//! Winograd's minimal filtering, after Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*
//! (2016), §4.1: `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` for tiles d of 4×4 pixels that overlap by two. The elementwise
//! product, summed over channels, becomes 16 matrix products. Larger tiles would be faster, but lose more digits
//! than the error bound allows. These transforms need only sums and halves, so they add little rounding.
//!
//! A tile belongs to one image, and each output is one sequence of operations, so results depend neither on
//! batch nor on threads.

mod forward;
mod gradient;
mod tiles;
mod transform;
mod weights;

pub(super) use forward::forward;
pub(super) use gradient::weight_gradient;
pub(super) use tiles::Tiles;
pub(super) use weights::{ConvDirection, TransformedWeights};

/// The number of positions in a transformed tile.
const POSITIONS: usize = 16;
