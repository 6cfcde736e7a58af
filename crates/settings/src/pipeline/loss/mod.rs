//! The loss of a train stage: one file for each loss's settings.
//!
//! It reads settings and computes nothing: the losses themselves are operations.

mod arcface;
mod bce;
mod cosface;
mod cross_entropy;
mod focal;
mod kinds;

pub use arcface::Arcface;
pub use bce::Bce;
pub use cosface::Cosface;
pub use cross_entropy::CrossEntropy;
pub use focal::Focal;
pub use kinds::{Loss, LossSettings, Weights};
