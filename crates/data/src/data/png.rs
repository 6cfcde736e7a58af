//! PNG files to RGB8, row by row, so that no second copy of the picture is made.
//!
//! The size in a header is held against the file before memory is taken for it. Texts and colour profiles, which may
//! be packed as small as any bomb, are passed over.

use std::io::Cursor;
use std::ops::Range;

use image::RgbImage;
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::decode::{DecodeOptions, check_pixels};
use super::resize::Region;
use crate::pipeline::{Grey16, Transparency};

pub const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Deflate packs 258 bytes into two bits at best.
const BEST_COMPRESSION: u64 = 1032;
/// The longest side, as in libpng: rows beyond would take memory that no limit on pixels bounds.
const LONGEST_SIDE: u32 = 1_000_000;
/// What the crate may take for chunks and rows. Its own default.
const LIMITS: Limits = Limits { bytes: 64 << 20 };
/// First column and row of each pass of an interlaced file, and the steps to the next.
const PASSES: [[usize; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/// The rows of a file, from the first on.
type Rows<'a> = Reader<Cursor<&'a [u8]>>;

/// A file whose headers have been read.
pub struct Png<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
    interlaced: bool,
    /// The EXIF data.
    pub exif: Option<Vec<u8>>,
}

impl<'a> Png<'a> {
    /// Reads all ahead of the pixels.
    pub fn open(bytes: &'a [u8]) -> Result<Self, String> {
        check_header(bytes)?;
        let reader = reader(bytes)?;
        let info = reader.info();
        // Of an animation, the frame is shown that stands for all of it.
        if info.frame_control.is_some_and(|frame| (frame.width, frame.height) != info.size()) {
            return Err(damaged("the first frame of its animation is not of the image's size"));
        }
        let (width, height) = info.size();
        let exif = info.exif_metadata.as_deref().map(<[u8]>::to_vec);
        Ok(Self { bytes, width, height, interlaced: info.interlaced, exif })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The pixels of a region. The whole file is read all the same.
    pub fn decode(&self, region: Region, options: DecodeOptions) -> Result<RgbImage, String> {
        let mut reader = reader(self.bytes)?;
        let line = reader.output_line_size(self.width).ok_or_else(|| damaged("its rows are too long"))?;
        let mut row = vec![0; line];
        let format = Format::of(&reader, options);
        let mut pixels = Vec::new();
        let length = region.width as usize * region.height as usize * 3;
        pixels
            .try_reserve_exact(length)
            .map_err(|_| format!("there is no memory for the {length} bytes of its pixels"))?;
        let decode = if self.interlaced { Self::passes } else { Self::rows };
        decode(self, &mut reader, &format, region, &mut row, &mut pixels)?;
        // Reads what follows the last row: it must be whole too.
        reader.read_row(&mut row).map_err(cause)?;
        RgbImage::from_raw(region.width, region.height, pixels)
            .ok_or_else(|| damaged("it has an unknown layout"))
    }

    /// Row after row, so that memory is written to no sooner than there is something for it.
    fn rows(
        &self,
        reader: &mut Rows,
        format: &Format,
        region: Region,
        row: &mut [u8],
        pixels: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (columns, rows) = ranges(region);
        for y in 0..self.height as usize {
            next_row(reader, row)?;
            if rows.contains(&y) {
                let start = pixels.len();
                pixels.resize(start + columns.len() * 3, 0);
                format.convert(row, columns.clone(), &mut pixels[start..]);
            }
        }
        Ok(())
    }

    /// The seven passes of an interlaced file, each over all of the picture.
    fn passes(
        &self,
        reader: &mut Rows,
        format: &Format,
        region: Region,
        row: &mut [u8],
        pixels: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (columns, rows) = ranges(region);
        let stride = columns.len() * 3;
        pixels.resize(stride * rows.len(), 0);
        let mut between = vec![0; self.width as usize * 3];
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
                for (pixel, x) in between.chunks_exact(3).zip(places.clone()) {
                    if columns.contains(&x) {
                        out[(x - columns.start) * 3..][..3].copy_from_slice(pixel);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Columns and rows.
fn ranges(region: Region) -> (Range<usize>, Range<usize>) {
    let range = |start: u32, length: u32| start as usize..(start + length) as usize;
    (range(region.left, region.width), range(region.top, region.height))
}

/// Refuses a header whose picture cannot be in the file, or is larger than any that is decoded.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    const CUT_OFF: &str = "the PNG data is cut off";
    let header: &[u8; 17] = bytes.get(12..).and_then(<[u8]>::first_chunk).ok_or(CUT_OFF)?;
    let [b'I', b'H', b'D', b'R', w3, w2, w1, w0, h3, h2, h1, h0, depth, color, ..] = *header else {
        return Err(damaged("it does not begin with its header"));
    };
    let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    check_pixels(width, height)?;
    if width.max(height) > LONGEST_SIDE {
        return Err(format!(
            "its header says {width} × {height} pixels, and sides of more than {LONGEST_SIDE} are not decoded"
        ));
    }
    let channels = match color {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    let row = 1 + (u64::from(width) * channels * u64::from(depth)).div_ceil(8);
    if row * u64::from(height) > BEST_COMPRESSION * bytes.len() as u64 {
        return Err(format!(
            "its header says {width} × {height} pixels, more than its {} bytes can hold",
            bytes.len()
        ));
    }
    Ok(())
}

fn reader(bytes: &[u8]) -> Result<Rows<'_>, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), LIMITS);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes and fewer than 8 bits to whole samples, a transparent colour to alpha.
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(cause)
}

fn next_row(reader: &mut Rows, row: &mut [u8]) -> Result<(), String> {
    match reader.read_row(row).map_err(cause)? {
        Some(_) => Ok(()),
        None => Err(damaged("it has too few rows")),
    }
}

/// What the samples of a row are.
struct Format {
    color: ColorType,
    /// Bytes of a sample, the high one first.
    wide: usize,
    /// Whether grey of 16 bits is clipped at 255.
    clips: bool,
    transparency: Transparency,
}

impl Format {
    fn of(reader: &Rows, options: DecodeOptions) -> Self {
        let (color, depth) = reader.output_color_type();
        let wide = if depth == BitDepth::Sixteen { 2 } else { 1 };
        // Pillow has a mode of its own for grey of 16 bits, but none for grey with alpha.
        let clips = reader.info().color_type == ColorType::Grayscale && options.grey16 == Grey16::Clip;
        Self { color, wide, clips: clips && wide == 2, transparency: options.transparency }
    }

    /// Writes columns of a row as RGB8.
    fn convert(&self, row: &[u8], columns: Range<usize>, out: &mut [u8]) {
        let Self { wide, clips, .. } = *self;
        let step = self.color.samples() * wide;
        let row = &row[columns.start * step..columns.end * step];
        let grey = |pixel: &[u8]| if clips && pixel[0] > 0 { 255 } else { pixel[usize::from(clips)] };
        let on_white = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        let seen = |value: u8, alpha: u8| match self.transparency {
            Transparency::White => on_white(value, alpha),
            Transparency::Drop => value,
        };
        let pairs = row.chunks_exact(step).zip(out.chunks_exact_mut(3));
        match self.color {
            ColorType::Grayscale | ColorType::Indexed => {
                pairs.for_each(|(pixel, out)| out.fill(grey(pixel)));
            }
            ColorType::GrayscaleAlpha => {
                pairs.for_each(|(pixel, out)| out.fill(seen(grey(pixel), pixel[wide])));
            }
            ColorType::Rgb if wide == 1 => out[..row.len()].copy_from_slice(row),
            ColorType::Rgb => {
                pairs.for_each(|(pixel, out)| out.copy_from_slice(&[pixel[0], pixel[2], pixel[4]]));
            }
            ColorType::Rgba => pairs.for_each(|(pixel, out)| {
                let alpha = pixel[3 * wide];
                out.copy_from_slice(&[0, wide, 2 * wide].map(|place| seen(pixel[place], alpha)));
            }),
        }
    }
}

fn damaged(cause: &str) -> String {
    format!("the PNG data is damaged: {cause}")
}

/// The crate's errors in the words of this program's own: it names chunks and values as Rust's debug output does.
fn cause(error: DecodingError) -> String {
    let text = match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return "the PNG data is cut off".into();
        }
        DecodingError::LimitsExceeded => return damaged("a part of it is too large"),
        other => other.to_string(),
    };
    let corrupt = text.strip_prefix("Corrupt deflate stream").map(|_| "its compressed data is corrupt");
    let checksum = text.starts_with("CRC error").then_some("a checksum does not agree");
    let plain = match corrupt.or(checksum) {
        Some(plain) => match chunk_name(&text) {
            Some(name) => format!("{plain}, in its chunk {name}"),
            None => plain.to_owned(),
        },
        None => without_debug_output(&text),
    };
    damaged(&plain)
}

/// The four letters of the chunk that a message of the crate is about.
fn chunk_name(text: &str) -> Option<&str> {
    text.split_once("ChunkType { type: ").and_then(|(_, rest)| rest.split([',', ' ']).next())
}

/// A sentence without its full stop and capital, and of each chunk its name alone.
fn without_debug_output(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("ChunkType { type: ") {
        let (fields, after) = after.split_once(" }").unwrap_or((after, ""));
        plain.extend([before, fields.split(',').next().unwrap_or_default()]);
        rest = after;
    }
    plain.push_str(rest);
    let plain = plain.trim_end_matches('.');
    // A word of several capitals, such as IDAT, keeps them.
    let is_name = plain.chars().nth(1).is_some_and(char::is_uppercase);
    match plain.chars().next() {
        Some(first) if !is_name => first.to_lowercase().chain(plain.chars().skip(1)).collect(),
        _ => plain.to_owned(),
    }
}
