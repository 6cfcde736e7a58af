//! Random changes to training images: torchvision's results bit for bit, with our own random numbers.
//!
//! Each change draws from its sample's stream. This module never reads a file.

mod affine;
mod draws;
mod gaussian_blur;
mod hsv;
mod mixup;
mod multi_scale;
mod photometric;
mod photometric_float;
mod rand_augment;
mod random_erasing;

pub use draws::{AugmentDraws, random_region};
pub use mixup::BatchMixer;
pub use multi_scale::BatchResizer;
