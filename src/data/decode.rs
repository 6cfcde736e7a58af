//! Bytes of a JPEG or PNG file to RGB8, as a person would see the picture.
//!
//! - The format is told from the first bytes, never from the file name.
//! - EXIF orientation is applied (torchvision's `ImageFolder` ignores it): a photo taken upright is seen upright.
//! - Transparency is composited on white (Pillow's `convert("RGB")` uncovers whatever colour lies beneath).
//! - 16-bit samples keep their high byte (Pillow clips 16-bit grey to 255).
//! - Embedded colour profiles are not applied, as in Pillow.
//! - A file that is cut off or malformed is an error: JPEG must reach its end marker with all its data read. Bits that
//!   flipped inside JPEG's compressed data change the picture unseen, for there is no checksum; PNG's are checked.
//!
//! Decoding starts with the headers, so that a caller who knows the size can ask for a part of the picture, at a scale.

use std::cell::Cell;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, Limits, RgbImage};

use super::jpeg::{Jpeg, Scale, Workspace};
use super::resize::Region;

const JPEG_SIGNATURE: &[u8] = &[0xFF, 0xD8, 0xFF];
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

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

/// A file whose kind and size are known.
pub struct Picture<'a> {
    content: Content<'a>,
    orientation: Orientation,
}

enum Content<'a> {
    Jpeg(Box<Jpeg<'a>>),
    /// Decoded as it is opened: PNG has no part that could be left out.
    Png(RgbImage),
}

impl<'a> Picture<'a> {
    /// Reads a file's headers.
    ///
    /// # Errors
    /// The cause, lowercase and without the file's name, which is not known here: `the JPEG data is cut off`.
    pub fn open(bytes: &'a [u8]) -> Result<Self, String> {
        match bytes {
            [] => Err("the file is empty".into()),
            _ if bytes.starts_with(JPEG_SIGNATURE) => guarded(|| open_jpeg(bytes)),
            _ if bytes.starts_with(PNG_SIGNATURE) => guarded(|| open_png(bytes)),
            _ => Err(not_an_image(bytes)),
        }
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
            Content::Png(image) if stored == Region::of(image) => image.clone(),
            Content::Png(image) => {
                let Region { left, top, width, height } = stored;
                image::imageops::crop_imm(image, left, top, width, height).to_image()
            }
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
            Content::Png(image) => image.dimensions(),
        }
    }
}

/// Decodes a JPEG or PNG file to upright, opaque RGB8.
///
/// # Errors
/// The cause, as of [`Picture::open`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let picture = Picture::open(bytes)?;
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
    format!("the JPEG data is damaged: {cause}")
}

fn open_jpeg(bytes: &[u8]) -> Result<Picture<'_>, String> {
    if !reaches_end_marker(bytes) {
        return Err("the JPEG data is cut off".into());
    }
    let jpeg = Jpeg::open(bytes).map_err(damaged_jpeg)?;
    let orientation = jpeg.exif().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    Ok(Picture { content: Content::Jpeg(Box::new(jpeg)), orientation })
}

/// Whether the end marker follows the first scan; one inside an EXIF thumbnail, ahead of the scan, does not count.
fn reaches_end_marker(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    let mut position = 2;
    while let Some(&[0xFF, marker]) = bytes.get(position..position + 2) {
        match marker {
            START_OF_SCAN => return bytes[position..].windows(2).rev().any(|pair| pair == [0xFF, 0xD9]),
            // Padding before a marker.
            0xFF => position += 1,
            _ => {
                let Some(&[high, low]) = bytes.get(position + 2..position + 4) else { return false };
                position += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    // Stray bytes between segments: left for the decoder to judge.
    position < bytes.len()
}

fn open_png(bytes: &[u8]) -> Result<Picture<'static>, String> {
    let damaged = |error: image::ImageError| format!("the PNG data is damaged: {error}");
    let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), Limits::default()).map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let size = usize::try_from(decoder.total_bytes()).map_err(|_| "the PNG image is too large")?;
    let mut samples = vec![0; size];
    decoder.read_image(&mut samples).map_err(damaged)?;
    if color.bytes_per_pixel() / color.channel_count() == 2 {
        let high = |pair: &[u8]| (u16::from_ne_bytes([pair[0], pair[1]]) >> 8) as u8;
        samples = samples.chunks_exact(2).map(high).collect();
    }
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let pixels = match color {
        ColorType::L8 | ColorType::L16 => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        ColorType::La8 | ColorType::La16 => {
            samples.chunks_exact(2).flat_map(|pixel| [on_white(pixel[0], pixel[1]); 3]).collect()
        }
        ColorType::Rgba8 | ColorType::Rgba16 => samples
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]].map(|value| on_white(value, pixel[3])))
            .collect(),
        _ => samples,
    };
    let image = RgbImage::from_raw(width, height, pixels).ok_or("the PNG image has an unknown layout")?;
    if width == 0 || height == 0 {
        return Err("the image has no pixels".into());
    }
    Ok(Picture { content: Content::Png(image), orientation })
}

#[cfg(test)]
mod tests;
