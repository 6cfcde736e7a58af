//! Bytes of an image file to pixels, as a person would see the picture.
//!
//! - The format is told from the first bytes, never from the file name.
//! - EXIF orientation is applied: a photo taken upright is seen upright.
//! - Transparency is composited on white.
//! - 16-bit samples keep their high byte.
//! - Embedded colour profiles are not applied, as in Pillow.
//! - A file that is cut off or malformed is an error: JPEG must reach its end marker with all its data read. Bits that
//!   flipped inside JPEG's compressed data change the picture unseen, for there is no checksum; PNG's are checked.
//! - A size that the file cannot hold, or beyond [`MAX_PIXELS`], is an error before memory is taken for it.
//!
//! Settings turn the first three off, one by one; then pixels are those of Pillow's `convert("RGB")`.
//!
//! Decoding starts with the headers, so that a caller who knows the size can ask for a part of the picture, at a scale.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::formats::{Decoder, IMAGE_FORMATS, ImageFormat, format_of};
use super::{Image, JpegWorkspace, Raster, Region, Scale, exif};
use crate::pipeline::{Grey16, Transparency};

/// The most pixels of a picture that is decoded: from here on Pillow takes it for a decompression bomb.
pub const MAX_PIXELS: u64 = 178_956_970;

/// How what a file says beyond its colours is read. The default shows what a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    pub exif_orientation: bool,
    pub transparency: Transparency,
    pub grey16: Grey16,
    pub pixels: PixelFormat,
}

/// The pixels that decoding gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three channels of 8 bits, whatever the file has.
    #[default]
    Rgb8,
    /// The depth and the channels that the file has. Transparency is a channel. JPEG files have RGB8.
    Stored,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            exif_orientation: true,
            transparency: Transparency::default(),
            grey16: Grey16::default(),
            pixels: PixelFormat::default(),
        }
    }
}

/// A file whose format and size are known.
pub struct EncodedImage<'a> {
    decoder: Box<dyn Decoder + 'a>,
    orientation: Orientation,
    options: DecodeOptions,
}

impl<'a> EncodedImage<'a> {
    /// Reads a file's headers.
    ///
    /// # Errors
    /// The cause, lowercase and without the file's name, which is not known here: `the JPEG data is cut off`.
    pub fn open(bytes: &'a [u8], options: DecodeOptions) -> Result<Self, String> {
        Self::open_as(IMAGE_FORMATS, bytes, options)
    }

    /// The same, of one of these formats.
    pub(in crate::data) fn open_as(
        formats: &[ImageFormat],
        bytes: &'a [u8],
        options: DecodeOptions,
    ) -> Result<Self, String> {
        let format = format_of(formats, bytes)?;
        let decoder = guarded(|| (format.open)(bytes))?;
        let exif = decoder.exif().filter(|_| options.exif_orientation);
        let orientation = exif.map_or(Orientation::NoTransforms, exif::orientation);
        Ok(Self { decoder, orientation, options })
    }

    /// Width and height in pixels, upright.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.decoder.size();
        if turns(self.orientation) { (height, width) } else { (width, height) }
    }

    /// Whether it can be decoded at a smaller scale than its own.
    pub fn scales(&self) -> bool {
        self.decoder.scales()
    }

    /// A part of the upright picture at a scale; the region is in pixels of that scale.
    ///
    /// # Errors
    /// The cause, as of [`EncodedImage::open`]. A damaged file is found out whatever the region.
    pub fn decode(
        &self,
        scale: Scale,
        region: Region,
        workspace: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let (width, height) = self.decoder.size();
        let stored = stored_region(region, self.orientation, (scale.of(width), scale.of(height)));
        let image = guarded(|| self.decoder.decode(scale, stored, self.options, workspace))?;
        Ok(match (self.orientation, image) {
            (Orientation::NoTransforms, image) => image,
            (turned, Image::Rgb8(image)) => {
                let mut image = DynamicImage::ImageRgb8(image);
                image.apply_orientation(turned);
                Image::Rgb8(image.into_rgb8())
            }
            (turned, Image::Other(raster)) => Image::Other(upright(&raster, turned)),
        })
    }
}

/// Decodes an image file to upright, opaque RGB8.
///
/// # Errors
/// The cause, as of [`EncodedImage::open`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let picture = EncodedImage::open(bytes, DecodeOptions::default())?;
    let image = picture.decode(Scale::Whole, Region::whole(picture.size()), &mut JpegWorkspace::default())?;
    image.into_rgb8().ok_or_else(|| "it was not decoded to RGB8".to_owned())
}

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a decoder, where a panic is caught and reported as an error of the file.
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// A broken file must not take the program down, whatever it does to a decoder.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let before = DECODING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    DECODING.set(before);
    outcome.unwrap_or_else(|_| Err("the decoder gave up on it".into()))
}

/// Turns stored pixels upright.
fn upright(stored: &Raster, orientation: Orientation) -> Raster {
    use Orientation::{FlipHorizontal, FlipVertical, Rotate90, Rotate180, Rotate270, Rotate270FlipH};
    let (width, height) = (stored.width, stored.height);
    let turns = turns(orientation);
    let size = if turns { (height, width) } else { (width, height) };
    stored.gathered(size, |x, y| {
        let (mut x, mut y) = if turns { (y, x) } else { (x, y) };
        if matches!(orientation, FlipHorizontal | Rotate180 | Rotate270 | Rotate270FlipH) {
            x = width - 1 - x;
        }
        if matches!(orientation, FlipVertical | Rotate180 | Rotate90 | Rotate270FlipH) {
            y = height - 1 - y;
        }
        Some((x, y))
    })
}

fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Where a region of the upright picture lies in the stored one, whose size is given.
fn stored_region(region: Region, orientation: Orientation, (width, height): (u32, u32)) -> Region {
    use Orientation::{FlipHorizontal, FlipVertical, Rotate90, Rotate180, Rotate270, Rotate270FlipH};
    let mut stored = region;
    if turns(orientation) {
        stored = Region { left: region.top, top: region.left, width: region.height, height: region.width };
    }
    if matches!(orientation, FlipHorizontal | Rotate180 | Rotate270 | Rotate270FlipH) {
        stored.left = width - stored.left - stored.width;
    }
    if matches!(orientation, FlipVertical | Rotate180 | Rotate90 | Rotate270FlipH) {
        stored.top = height - stored.top - stored.height;
    }
    stored
}

/// Refuses a size that no picture has which is decoded.
pub fn check_pixels(width: u32, height: u32) -> Result<(), String> {
    match u64::from(width) * u64::from(height) {
        0 => Err("the image has no pixels".into()),
        pixels if pixels > MAX_PIXELS => {
            Err(format!("its header says {width} × {height} pixels, and at most {MAX_PIXELS} are decoded"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
