//! Decodes PNG files row by row, so that no second copy of the picture is needed.
//!
//! The size in the header is checked against the file's length before memory is allocated. Texts and colour profiles
//! are skipped, because they can be decompression bombs.

mod headers;
mod messages;
mod rows;

use std::io::Cursor;
use std::ops::Range;

use png::{Decoder as ChunkDecoder, Limits, Reader, Transformations};

use self::headers::{check_header, looks_whole};
use self::messages::{cause, damaged};
use self::rows::RowFormat;
use super::decode::reserve_pixels;
use super::{DecodeOptions, Decoder, Image, ImageFormat, JpegWorkspace, Region, Scale};
use crate::data::code_paths;

pub const FORMAT: ImageFormat = ImageFormat {
    name: "PNG",
    extensions: &["png"],
    signatures: &[(0, SIGNATURE)],
    code_path: code_paths::PNG,
    open: |bytes| Ok(Box::new(Png::open(bytes)?)),
    looks_whole,
};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Deflate compresses at most 258 bytes into two bits.
const BEST_COMPRESSION: u64 = 1032;
/// The longest side, as in libpng. Longer rows would need memory that the pixel limit does not bound.
const LONGEST_SIDE: u32 = 1_000_000;
/// The memory limit of the crate for chunks and rows: its default.
const LIMITS: Limits = Limits { bytes: 64 << 20 };
/// First column and row of each pass of an interlaced file, and the steps to the next.
const PASSES: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/// Reads the rows of a file in order.
type PngRows<'a> = Reader<Cursor<&'a [u8]>>;

/// A file whose headers have been read.
pub struct Png<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
    interlaced: bool,
    /// The EXIF data.
    exif: Option<Vec<u8>>,
}

impl<'a> Png<'a> {
    /// Reads everything before the pixels.
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        check_header(bytes)?;
        let reader = reader(bytes)?;
        let info = reader.info();
        // For an animation, the default image is used.
        if info.frame_control.is_some_and(|frame| (frame.width, frame.height) != info.size()) {
            return Err(damaged("the first frame of its animation is not of the image's size"));
        }
        let (width, height) = info.size();
        let exif = info.exif_metadata.as_deref().map(<[u8]>::to_vec);
        Ok(Self { bytes, width, height, interlaced: info.interlaced, exif })
    }

    /// Decodes row by row, so that memory is written only when data for it exists.
    fn rows(
        &self,
        reader: &mut PngRows,
        format: &RowFormat,
        region: Region,
        row: &mut [u8],
        pixels: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (columns, rows) = ranges(region);
        for y in 0..self.height as usize {
            next_row(reader, row)?;
            if rows.contains(&y) {
                let start = pixels.len();
                pixels.resize(start + columns.len() * format.bytes(), 0);
                format.convert(row, columns.clone(), &mut pixels[start..]);
            }
        }
        Ok(())
    }

    /// Decodes the seven passes of an interlaced file, each of which covers the whole picture.
    fn passes(
        &self,
        reader: &mut PngRows,
        format: &RowFormat,
        region: Region,
        row: &mut [u8],
        pixels: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (columns, rows) = ranges(region);
        let bytes = format.bytes();
        let stride = columns.len() * bytes;
        pixels.resize(stride * rows.len(), 0);
        let mut between = vec![0; self.width as usize * bytes];
        for [left, top, across, down] in PASSES {
            let places = (left..self.width as usize).step_by(across);
            if places.len() == 0 {
                continue;
            }
            for y in (top..self.height as usize).step_by(down) {
                next_row(reader, row)?;
                if !rows.contains(&y) {
                    continue;
                }
                format.convert(row, 0..places.len(), &mut between);
                let out = &mut pixels[(y - rows.start) * stride..][..stride];
                for (pixel, x) in between.chunks_exact(bytes).zip(places.clone()) {
                    if columns.contains(&x) {
                        out[(x - columns.start) * bytes..][..bytes].copy_from_slice(pixel);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Decoder for Png<'_> {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn exif(&self) -> Option<&[u8]> {
        self.exif.as_deref()
    }

    /// Reads the whole file for every region.
    fn decode(
        &self,
        _: Scale,
        region: Region,
        options: DecodeOptions,
        _: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let mut reader = reader(self.bytes)?;
        let line = reader.output_line_size(self.width).ok_or_else(|| damaged("its rows are too long"))?;
        let mut row = vec![0; line];
        let format = RowFormat::of(&reader, options);
        let mut pixels = Vec::new();
        let length = region.width as usize * region.height as usize * format.bytes();
        reserve_pixels(&mut pixels, length)?;
        let decode = if self.interlaced { Png::passes } else { Png::rows };
        decode(self, &mut reader, &format, region, &mut row, &mut pixels)?;
        // Reads the data after the last row, which must be complete too.
        reader.read_row(&mut row).map_err(cause)?;
        format.image(region, pixels).ok_or_else(|| damaged("it has an unknown layout"))
    }
}

/// The column range and the row range.
fn ranges(region: Region) -> (Range<usize>, Range<usize>) {
    let range = |start: u32, length: u32| start as usize..(start + length) as usize;
    (range(region.left, region.width), range(region.top, region.height))
}

fn reader(bytes: &[u8]) -> Result<PngRows<'_>, String> {
    let mut decoder = ChunkDecoder::new_with_limits(Cursor::new(bytes), LIMITS);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Expands palettes and samples below 8 bits to bytes, and a transparent colour to alpha.
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(cause)
}

fn next_row(reader: &mut PngRows, row: &mut [u8]) -> Result<(), String> {
    match reader.read_row(row).map_err(cause)? {
        Some(_) => Ok(()),
        None => Err(damaged("it has too few rows")),
    }
}
