//! Convolution with 3×3 kernels and stride 1 through F(2×2, 3×3): 16 products for each 4 outputs instead of 36.
//!
//! Winograd's minimal filtering after Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks* (2016), §4.1:
//! `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` for tiles d of 4×4 pixels that overlap by two. The elementwise product, summed over
//! channels, is 16 matrix products. Larger tiles would save more and lose more digits than the promise allows; of this
//! one, the transforms are sums alone, and halves.
//!
//! Tiles belong to one image, and each output is one sequence of operations, so that results depend on neither batch nor
//! threads.

mod forward;
mod gradient;
mod tiles;
mod transform;
mod weights;

pub(super) use forward::forward;
pub(super) use gradient::weight_gradient;
pub(super) use tiles::Tiles;
pub(super) use weights::{TransformedWeights, Turn};

/// The positions of a transformed tile.
const POSITIONS: usize = 16;
