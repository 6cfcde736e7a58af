//! Decodes and resizes single images.
//!
//! The content of a file determines its format, never its name. This module does not depend on data sets, splits or
//! stages.

mod bmp;
mod decode;
mod exif;
mod formats;
mod gif;
#[cfg(test)]
mod gif_pnm_tests;
mod jpeg;
mod light;
mod other_formats;
mod pixels;
mod png;
mod pnm;
mod reader;
mod resample;
#[cfg(target_arch = "x86_64")]
mod resample_avx2;
mod resample_float;
mod resize;
mod tiff;
mod webp;

pub use decode::{DecodeOptions, EncodedImage, PixelFormat, decode, is_decoding};
pub use formats::{
    Decoder, IMAGE_FORMATS, ImageFormat, NO_IMAGE_FORMAT, image_format_extensions, image_format_names,
    looks_whole,
};
pub use jpeg::{JpegWorkspace, Scale};
pub use light::StoredPixels;
pub use other_formats::OtherFormat;
pub use pixels::{Image, PixelData, Raster, visible_bytes};
pub use reader::ImageReader;
pub use resize::{Region, ResizePlan, resize};
