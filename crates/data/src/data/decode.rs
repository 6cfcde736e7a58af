//! Bytes of a JPEG or PNG file to RGB8, as a person would see the picture.
//!
//! - The format is told from the first bytes, never from the file name.
//! - EXIF orientation is applied: a photo taken upright is seen upright.
//! - Transparency is composited on white.
//! - 16-bit samples keep their high byte.
//! - Embedded colour profiles are not applied, as in Pillow.
//! - A file that is cut off or malformed is an error: JPEG must reach its end marker with all its data read. Bits that
//!   flipped inside JPEG's compressed data change the picture unseen, for there is no checksum; PNG's are checked.
//! - A size that the file cannot hold, or beyond [`MOST_PIXELS`], is an error before memory is taken for it.
//!
//! Settings turn the first three off, one by one; then pixels are those of Pillow's `convert("RGB")`.
//!
//! Decoding starts with the headers, so that a caller who knows the size can ask for a part of the picture, at a scale.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::exif;
use super::jpeg::{self, Jpeg, Scale, Workspace};
use super::png::{self, Png};
use super::resize::Region;
use crate::pipeline::{Grey16, Transparency};

const JPEG_SIGNATURE: &[u8] = &[0xFF, 0xD8, 0xFF];

/// The most pixels of a picture that is decoded: from here on Pillow takes it for a decompression bomb.
pub const MOST_PIXELS: u64 = 178_956_970;

/// Formats that often hide behind the name of another.
const OTHER_SIGNATURES: [(usize, &[u8], &str); 7] = [
    (8, b"WEBP", "WebP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypavif", "AVIF"),
];

/// How what a file says beyond its colours is read. The default shows what a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    pub exif_orientation: bool,
    pub transparency: Transparency,
    pub grey16: Grey16,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { exif_orientation: true, transparency: Transparency::default(), grey16: Grey16::default() }
    }
}

/// A file whose kind and size are known.
pub struct Picture<'a> {
    content: Content<'a>,
    orientation: Orientation,
    options: DecodeOptions,
}

enum Content<'a> {
    Jpeg(Box<Jpeg<'a>>),
    Png(Png<'a>),
}

impl<'a> Picture<'a> {
    /// Reads a file's headers.
    ///
    /// # Errors
    /// The cause, lowercase and without the file's name, which is not known here: `the JPEG data is cut off`.
    pub fn open(bytes: &'a [u8], options: DecodeOptions) -> Result<Self, String> {
        let (content, exif) = match bytes {
            [] => return Err("the file is empty".into()),
            _ if bytes.starts_with(JPEG_SIGNATURE) => {
                let jpeg = guarded(|| open_jpeg(bytes))?;
                let exif = jpeg.exif().map(exif::orientation);
                (Content::Jpeg(Box::new(jpeg)), exif)
            }
            _ if bytes.starts_with(png::SIGNATURE) => {
                let png = guarded(|| Png::open(bytes))?;
                let exif = png.exif.as_deref().map(exif::orientation);
                (Content::Png(png), exif)
            }
            _ => return Err(not_an_image(bytes)),
        };
        let orientation = exif.filter(|_| options.exif_orientation).unwrap_or(Orientation::NoTransforms);
        Ok(Self { content, orientation, options })
    }

    /// Width and height in pixels, upright.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.stored_size();
        if turns(self.orientation) { (height, width) } else { (width, height) }
    }

    /// Whether it can be decoded at a smaller scale than its own.
    pub fn scales(&self) -> bool {
        matches!(self.content, Content::Jpeg(_))
    }

    /// A part of the upright picture at a scale; the region is in pixels of that scale.
    ///
    /// # Errors
    /// The cause, as of [`Picture::open`]. A damaged file is found out whatever the region.
    pub fn decode(
        &self,
        scale: Scale,
        region: Region,
        workspace: &mut Workspace,
    ) -> Result<RgbImage, String> {
        let (width, height) = self.stored_size();
        let stored = stored_region(region, self.orientation, (scale.of(width), scale.of(height)));
        let image = match &self.content {
            Content::Png(png) => guarded(|| png.decode(stored, self.options))?,
            Content::Jpeg(jpeg) => {
                let pixels = guarded(|| jpeg.decode(scale, stored, workspace).map_err(damaged_jpeg))?;
                RgbImage::from_raw(stored.width, stored.height, pixels).ok_or("the image has no pixels")?
            }
        };
        Ok(match self.orientation {
            Orientation::NoTransforms => image,
            turned => {
                let mut image = DynamicImage::ImageRgb8(image);
                image.apply_orientation(turned);
                image.into_rgb8()
            }
        })
    }

    fn stored_size(&self) -> (u32, u32) {
        match &self.content {
            Content::Jpeg(jpeg) => jpeg.size(),
            Content::Png(png) => png.size(),
        }
    }
}

/// Decodes a JPEG or PNG file to upright, opaque RGB8.
///
/// # Errors
/// The cause, as of [`Picture::open`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let picture = Picture::open(bytes, DecodeOptions::default())?;
    picture.decode(Scale::Whole, Region::whole(picture.size()), &mut Workspace::default())
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

fn not_an_image(bytes: &[u8]) -> String {
    let known = OTHER_SIGNATURES
        .iter()
        .find(|(offset, signature, _)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(signature)));
    match known {
        Some((_, _, format)) => format!("it is a {format} file, neither JPEG nor PNG"),
        None => "it is neither a JPEG nor a PNG file".into(),
    }
}

fn damaged_jpeg(cause: &str) -> String {
    if cause == jpeg::CUT_OFF {
        return "the JPEG data is cut off".into();
    }
    format!("the JPEG data is damaged: {cause}")
}

/// Refuses a size that no picture has which is decoded.
pub(super) fn check_pixels(width: u32, height: u32) -> Result<(), String> {
    match u64::from(width) * u64::from(height) {
        0 => Err("the image has no pixels".into()),
        pixels if pixels > MOST_PIXELS => {
            Err(format!("its header says {width} × {height} pixels, and at most {MOST_PIXELS} are decoded"))
        }
        _ => Ok(()),
    }
}

fn open_jpeg(bytes: &[u8]) -> Result<Jpeg<'_>, String> {
    let jpeg = Jpeg::open(bytes).map_err(damaged_jpeg)?;
    let (width, height) = jpeg.size();
    check_pixels(width, height)?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests;
