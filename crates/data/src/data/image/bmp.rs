//! Decodes BMP files with the crate `image`.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::{ColorType, ImageDecoder, ImageError};

use super::decode::{check_pixels, decode_whole};
use super::{DecodeOptions, Decoder, Image, ImageFormat, JpegWorkspace, Region, Scale};
use crate::data::code_paths;

pub const FORMAT: ImageFormat = ImageFormat {
    name: "BMP",
    extensions: &["bmp"],
    signatures: &[(0, b"BM")],
    code_path: code_paths::BMP,
    open: |bytes| Ok(Box::new(Bmp::open(bytes)?)),
    looks_whole: |bytes| Bmp::open(bytes).is_ok(),
};

const CUT_OFF: &str = "the BMP data is cut off";
/// The most pixels of a byte of run lengths: two bytes hold 255.
const MOST_PER_BYTE: u64 = 128;
/// The header's compression for run lengths of 8 and of 4 bits.
const RUN_LENGTHS: [u32; 2] = [1, 2];

/// A file whose headers have been read.
pub struct Bmp<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
}

impl<'a> Bmp<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(cause)?;
        let (width, height) = decoder.dimensions();
        check_pixels(width, height)?;
        let number =
            |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_le_bytes(*bytes));
        // A header of twelve bytes has sides and depth in half the bytes, and no compression.
        let (depth, compression) = match number(14) {
            Some(12) => (number(24).map(|word| word & 0xFFFF), Some(0)),
            _ => (number(28).map(|word| word & 0xFFFF), number(30)),
        };
        let (depth, compression) = depth.zip(compression).ok_or(CUT_OFF)?;
        let pixels = u64::from(width) * u64::from(height);
        let is_short = if RUN_LENGTHS.contains(&compression) {
            pixels > MOST_PER_BYTE * bytes.len() as u64
        } else {
            let row = (u64::from(width) * u64::from(depth)).div_ceil(32) * 4;
            let start = u64::from(number(10).unwrap_or(0));
            start.saturating_add(row * u64::from(height)) > bytes.len() as u64
        };
        if is_short { Err(CUT_OFF.into()) } else { Ok(Self { bytes, width, height }) }
    }
}

impl Decoder for Bmp<'_> {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn exif(&self) -> Option<&[u8]> {
        None
    }

    fn decode(
        &self,
        _: Scale,
        region: Region,
        options: DecodeOptions,
        _: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let decoder = BmpDecoder::new(Cursor::new(self.bytes)).map_err(cause)?;
        let channels = match decoder.color_type() {
            ColorType::Rgba8 => 4,
            ColorType::L8 => 1,
            _ => 3,
        };
        let length = decoder.total_bytes() as usize;
        let image = decode_whole((self.width, channels), length, region, options, |samples| {
            decoder.read_image(samples).map_err(cause)
        })?;
        image.ok_or_else(|| "the BMP data has an unknown layout".to_owned())
    }
}

fn cause(error: ImageError) -> String {
    match error {
        ImageError::IoError(_) => CUT_OFF.to_owned(),
        ImageError::Unsupported(_) => "it is a kind of BMP file that is not read".to_owned(),
        ImageError::Limits(_) => "the image is too large".to_owned(),
        _ => "the BMP data is damaged".to_owned(),
    }
}
