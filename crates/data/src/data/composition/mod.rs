//! Compositions of training images: mosaic, affine map of whole pictures, mixup of images with boxes.
//!
//! A composition replaces the crop of the transform; the other random changes follow. This module never reads a file.

mod affine_draw;
mod mosaic;
mod sample_composer;
mod training_images;
mod warp;

#[cfg(test)]
mod loader_tests;
#[cfg(test)]
mod tests;

pub use sample_composer::SampleComposer;
