//! Decodes WebP files with the crate `image-webp`: lossy and lossless; of an animation, the first frame.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::decode::{check_pixels, decode_whole};
use super::{DecodeOptions, Decoder, Image, ImageFormat, JpegWorkspace, Region, Scale};
use crate::data::code_paths;

pub const FORMAT: ImageFormat = ImageFormat {
    name: "WebP",
    extensions: &["webp"],
    signatures: &[(8, b"WEBP")],
    code_path: code_paths::WEBP,
    open: |bytes| Ok(Box::new(WebP::open(bytes)?)),
    looks_whole,
};

const CUT_OFF: &str = "the WebP data is cut off";
/// Pictures of one colour take next to nothing, so a small file may hold this many pixels.
const SMALL: u64 = 1 << 22;
/// The most pixels for each byte of a larger picture: a block of 256 takes more than a bit.
const MOST_PER_BYTE: u64 = 1 << 14;
/// What some writers put ahead of EXIF data, as JPEG has it.
const EXIF_HEADER: &[u8] = b"Exif\0\0";

/// A file whose headers have been read.
pub struct WebP<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
    exif: Option<Vec<u8>>,
}

impl<'a> WebP<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(cause)?;
        let (width, height) = decoder.dimensions();
        check_pixels(width, height)?;
        let pixels = u64::from(width) * u64::from(height);
        if pixels > SMALL && pixels > MOST_PER_BYTE * bytes.len() as u64 {
            let length = bytes.len();
            return Err(format!(
                "its header says {width} × {height} pixels, more than its {length} bytes can hold"
            ));
        }
        decoder.set_memory_limit(bytes.len());
        let exif = decoder.exif_metadata().map_err(cause)?;
        let exif = exif.map(|exif| exif.strip_prefix(EXIF_HEADER).map(<[u8]>::to_vec).unwrap_or(exif));
        Ok(Self { bytes, width, height, exif })
    }
}

impl Decoder for WebP<'_> {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn exif(&self) -> Option<&[u8]> {
        self.exif.as_deref()
    }

    /// Decodes the whole picture for every region: the format has no smaller parts.
    fn decode(
        &self,
        _: Scale,
        region: Region,
        options: DecodeOptions,
        _: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let mut decoder = WebPDecoder::new(Cursor::new(self.bytes)).map_err(cause)?;
        let length = decoder.output_buffer_size().ok_or_else(|| "the image is too large".to_owned())?;
        let channels = if decoder.has_alpha() { 4 } else { 3 };
        let image = decode_whole((self.width, channels), length, region, options, |samples| {
            decoder.read_image(samples).map_err(cause)
        })?;
        image.ok_or_else(|| "the WebP data has an unknown layout".to_owned())
    }
}

/// The crate's messages contain names and numbers in Rust's debug format. A user gets only the kind of the error.
fn cause(error: DecodingError) -> String {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => CUT_OFF.to_owned(),
        DecodingError::IoError(_) => CUT_OFF.to_owned(),
        DecodingError::InconsistentImageSizes => "the WebP data is damaged: it has two sizes".to_owned(),
        DecodingError::ChunkMissing => "the WebP data is damaged: a part of it is missing".to_owned(),
        DecodingError::UnsupportedFeature(_) => "it is a kind of WebP file that is not read".to_owned(),
        _ => "the WebP data is damaged".to_owned(),
    }
}

/// Whether the file is as long as it says.
fn looks_whole(bytes: &[u8]) -> bool {
    let Some(size) = bytes.get(4..).and_then(<[u8]>::first_chunk) else { return false };
    let size = u32::from_le_bytes(*size) as usize;
    bytes.starts_with(b"RIFF") && size.checked_add(8).is_some_and(|end| end <= bytes.len())
}
