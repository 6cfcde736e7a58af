//! JPEG files to RGB8, bit for bit as libjpeg-turbo decodes them: sequential and progressive Huffman files of 8 bits.
//!
//! Three things no library gives together: decoding at half, a quarter or an eighth of the size inside the inverse DCT,
//! transforming only the blocks of a crop, and refusing every file that is not whole. All entropy-coded data is read in
//! any case, since that is where damage shows. Nothing here knows files, orientations or transforms.

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

pub use decoder::{Jpeg, Workspace};
pub use format::FORMAT;
pub use geometry::Scale;

/// What is wrong with a file, in words that follow `the JPEG data is damaged:`.
type Damage = &'static str;

/// Of a file that ends before its picture does.
const CUT_OFF: Damage = "it is cut off";
