//! Random changes to training images, bit for bit as torchvision makes them, with draws of our own.
//!
//! A change draws from the stream of its own sample. It never reads a file.

mod affine;
mod draws;
mod mixup;
mod photometric;
mod rand_augment;
mod random_erasing;

pub use draws::{AugmentDraws, random_region};
pub use mixup::BatchMixer;
