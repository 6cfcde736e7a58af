//! Decodes JPEG files to RGB8, with the bits of libjpeg-turbo: sequential and progressive Huffman files of 8
//! bits.
//!
//! No library combines these: decoding at 1/2, 1/4 or 1/8 size inside the inverse DCT, transforming only the
//! blocks of a crop, and rejecting every incomplete file. All entropy-coded data is always read, because damage
//! shows there. This module never depends on files, orientations or transforms.

mod bits;
mod coefficients;
mod color;
mod decoder;
mod format;
mod geometry;
mod header;
mod huffman;
mod inverse;
#[cfg(target_arch = "x86_64")]
mod inverse_avx2;
mod scan;
mod smooth;
mod standard;
mod upsample;

pub use decoder::{Jpeg, JpegWorkspace};
pub use format::FORMAT;
pub use geometry::Scale;

/// What is wrong with a file, to follow `the JPEG data is damaged:`.
type Damage = &'static str;

/// For a truncated file.
const CUT_OFF: Damage = "it is cut off";
