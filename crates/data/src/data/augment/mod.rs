//! Random changes to training images: torchvision's results bit for bit, with our own random numbers.
//!
//! Each change draws from its sample's stream. This module never reads a file.

mod affine;
mod affine_draw;
mod draws;
mod hsv;
mod mixup;
mod mosaic;
mod multi_scale;
mod photometric;
mod rand_augment;
mod random_erasing;
mod sample_composer;
mod warp;

#[cfg(test)]
mod composition_tests;

pub use draws::{AugmentDraws, random_region};
pub use mixup::BatchMixer;
pub use multi_scale::BatchResizer;
pub use sample_composer::SampleComposer;
