//! Decodes an image file to pixels, as a person sees the picture.
//!
//! - The first bytes determine the format, never the file name.
//! - EXIF orientation is applied: a photo taken upright is upright.
//! - Transparency is composited on white.
//! - 16-bit samples of PNG files keep their high byte; those of TIFF files need a declared range.
//! - Embedded colour profiles are not applied, as in Pillow.
//! - A truncated or malformed file is an error. A JPEG file must reach its end marker with all its data read.
//! - Flipped bits in compressed JPEG data change the picture without an error, since JPEG has no checksum. PNG
//!   checksums are verified.
//! - A size that the file cannot contain, or above [`MAX_PIXELS`], is an error before memory is allocated.
//!
//! Options can disable the EXIF orientation and the white background, and can clip 16-bit grey. With all three,
//! pixels equal those of Pillow's `convert("RGB")`.
//!
//! Decoding first reads the headers, so that a caller can use the size to request a region at a scale.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::formats::{Decoder, IMAGE_FORMATS, ImageFormat, format_of};
use super::{Image, JpegWorkspace, Raster, Region, Scale, exif};
use crate::pipeline::{Grey16, Transparency};

/// The maximum number of pixels. Pillow treats larger pictures as decompression bombs.
pub const MAX_PIXELS: u64 = 178_956_970;

/// How to treat metadata and transparency. The default shows what a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    pub exif_orientation: bool,
    pub transparency: Transparency,
    pub grey16: Grey16,
    pub pixels: PixelFormat,
}

/// The pixel format of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three channels of 8 bits, independent of the file.
    #[default]
    Rgb8,
    /// The depth and the channels of the file. Transparency is a channel. JPEG and BMP files give RGB8.
    Stored {
        /// Whether the data set says which values are black and white.
        has_range: bool,
    },
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

/// An image file with known format and size.
pub struct EncodedImage<'a> {
    decoder: Box<dyn Decoder + 'a>,
    orientation: Orientation,
    options: DecodeOptions,
}

impl<'a> EncodedImage<'a> {
    /// Reads a file's headers.
    ///
    /// # Errors
    /// The cause in lower case, without the file's name, which is unknown here: `the JPEG data is cut off`.
    pub fn open(bytes: &'a [u8], options: DecodeOptions) -> Result<Self, String> {
        Self::open_as(IMAGE_FORMATS, bytes, options)
    }

    /// As `open`, for the given formats only.
    pub(in crate::data) fn open_as(
        formats: &[ImageFormat],
        bytes: &'a [u8],
        options: DecodeOptions,
    ) -> Result<Self, String> {
        let format = format_of(formats, bytes)?;
        let decoder = guarded(|| (format.open)(bytes))?;
        decoder.accepts(options)?;
        let exif = decoder.exif().filter(|_| options.exif_orientation);
        let orientation = exif.map_or(Orientation::NoTransforms, exif::orientation);
        Ok(Self { decoder, orientation, options })
    }

    /// Width and height in pixels, upright.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.decoder.size();
        if turns(self.orientation) { (height, width) } else { (width, height) }
    }

    /// Whether the decoder can reduce the scale.
    pub fn scales(&self) -> bool {
        self.decoder.scales()
    }

    /// Decodes a region of the upright picture at a scale. The region is in pixels of that scale.
    ///
    /// # Errors
    /// The cause, as for [`EncodedImage::open`]. A damaged file is an error for every region.
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
/// The cause, as for [`EncodedImage::open`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let picture = EncodedImage::open(bytes, DecodeOptions::default())?;
    let image = picture.decode(Scale::Whole, Region::whole(picture.size()), &mut JpegWorkspace::default())?;
    image.into_rgb8().ok_or_else(|| "it was not decoded to RGB8".to_owned())
}

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a decoder. A panic there is caught and becomes an error of the file.
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// Catches panics of a decoder, so that a broken file cannot end the program.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let before = DECODING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    DECODING.set(before);
    outcome.unwrap_or_else(|_| Err("the decoder gave up on it".into()))
}

/// Rotates and flips stored pixels to the upright picture.
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

/// Maps a region of the upright picture to the stored one, whose size is given.
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

/// Decodes a whole picture of bytes, whose width, channels and length in bytes are given, and cuts a region out of it.
pub fn decode_whole(
    (width, channels): (u32, usize),
    length: usize,
    region: Region,
    options: DecodeOptions,
    read: impl FnOnce(&mut [u8]) -> Result<(), String>,
) -> Result<Option<Image>, String> {
    let mut samples: Vec<u8> = Vec::new();
    reserve_pixels(&mut samples, length)?;
    samples.resize(length, 0);
    read(&mut samples)?;
    let samples = cut(&samples, (width, channels), region);
    Ok(match options.pixels {
        PixelFormat::Rgb8 => shown(region, channels, samples, options.transparency),
        PixelFormat::Stored { .. } => Image::of_bytes(region, channels, samples),
    })
}

/// Reserves memory for the bytes of a picture.
pub fn reserve_pixels(pixels: &mut Vec<u8>, length: usize) -> Result<(), String> {
    pixels
        .try_reserve_exact(length)
        .map_err(|_| format!("there is no memory for the {length} bytes of its pixels"))
}

/// The samples of a region of a picture of bytes, whose width and channels are given.
fn cut(samples: &[u8], (width, channels): (u32, usize), region: Region) -> Vec<u8> {
    let stride = width as usize * channels;
    let (left, length) = (region.left as usize * channels, region.width as usize * channels);
    let rows = samples.chunks_exact(stride).skip(region.top as usize).take(region.height as usize);
    rows.flat_map(|row| &row[left..left + length]).copied().collect()
}

/// What a person sees of a picture of bytes, with 1, 3 or 4 channels; `None` if their number is wrong.
pub fn shown(
    Region { width, height, .. }: Region,
    channels: usize,
    samples: Vec<u8>,
    transparency: Transparency,
) -> Option<Image> {
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let pixels = match (channels, transparency) {
        (1, _) => samples.iter().flat_map(|value| [*value; 3]).collect(),
        (4, Transparency::White) => {
            let seen = |[red, green, blue, alpha]: &[u8; 4]| {
                [*red, *green, *blue].map(|value| on_white(value, *alpha))
            };
            samples.as_chunks().0.iter().flat_map(seen).collect()
        }
        (4, Transparency::Drop) => {
            samples.as_chunks::<4>().0.iter().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
        }
        _ => samples,
    };
    RgbImage::from_raw(width, height, pixels).map(Image::Rgb8)
}

/// Returns an error if the size exceeds the pixel limit.
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
