//! Decodes GIF files (CompuServe, *Graphics Interchange Format, Version 89a*, 1990) with the crate `gif`: of an animation,
//! the first frame.
//!
//! The frame is placed on the canvas as in Pillow: a frame that reaches beyond the screen enlarges it, and pixels outside
//! of the frame have the transparent colour, or the first one of the palette.

use std::io::Cursor;
use std::num::NonZeroU64;

use gif::{Decoder as FrameDecoder, DecodingError, MemoryLimit};

use super::decode::{MAX_PIXELS, check_pixels, reserve_pixels, shown};
use super::{DecodeOptions, Decoder, Image, ImageFormat, JpegWorkspace, PixelFormat, Region, Scale};
use crate::data::code_paths;

pub const FORMAT: ImageFormat = ImageFormat {
    name: "GIF",
    extensions: &["gif"],
    signatures: &[(0, b"GIF87a"), (0, b"GIF89a")],
    code_path: code_paths::GIF,
    open: |bytes| Ok(Box::new(Gif::open(bytes)?)),
    looks_whole,
};

const CUT_OFF: &str = "the GIF data is cut off";
/// A screen may be larger than its frame, so a small file may have this many pixels.
const SMALL: u64 = 1 << 22;
/// The most pixels for each byte of a larger picture: LZW expands 12 bits to at most 4096 pixels.
const MOST_PER_BYTE: u64 = 2731;

type Frames<'a> = FrameDecoder<Cursor<&'a [u8]>>;

/// A file that has been read up to the pixels of its first frame.
pub struct Gif<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
}

impl<'a> Gif<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let (_, _, (width, height)) = first_frame(bytes)?;
        check_pixels(width, height)?;
        let pixels = u64::from(width) * u64::from(height);
        if pixels > SMALL && pixels > MOST_PER_BYTE * bytes.len() as u64 {
            let length = bytes.len();
            return Err(format!(
                "its header says {width} × {height} pixels, more than its {length} bytes can hold"
            ));
        }
        Ok(Self { bytes, width, height })
    }
}

impl Decoder for Gif<'_> {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn exif(&self) -> Option<&[u8]> {
        None
    }

    /// Decodes the whole frame for every region: the format has no smaller parts.
    fn decode(
        &self,
        _: Scale,
        region: Region,
        options: DecodeOptions,
        _: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let (mut frames, frame, _) = first_frame(self.bytes)?;
        let length = frame.width as usize * frame.height as usize;
        let mut indices = Vec::new();
        reserve_pixels(&mut indices, length)?;
        indices.resize(length, 0);
        frames.read_into_buffer(&mut indices).map_err(|error| match error {
            DecodingError::Format(_) => damaged("its first frame has fewer pixels than it says"),
            error => cause(error),
        })?;
        let palette = frames.palette().map_err(cause)?;
        let transparent = frames.current_frame_info().and_then(|frame| frame.transparent);
        let channels = if transparent.is_some() { 4 } else { 3 };
        // As in Pillow, an index beyond the palette is black.
        let color = |index: u8| {
            let place = usize::from(index) * 3;
            let [red, green, blue] =
                palette.get(place..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
            let alpha = if transparent == Some(index) { 0 } else { 255 };
            [red, green, blue, alpha]
        };
        let colors: Vec<[u8; 4]> = (0..=u8::MAX).map(color).collect();
        let background = &colors[usize::from(transparent.unwrap_or(0))][..channels];
        let mut samples = Vec::new();
        reserve_pixels(&mut samples, region.width as usize * region.height as usize * channels)?;
        for y in region.top..region.top + region.height {
            let row = y.checked_sub(frame.top).filter(|row| *row < frame.height);
            for x in region.left..region.left + region.width {
                let column = x.checked_sub(frame.left).filter(|column| *column < frame.width);
                samples.extend_from_slice(match row.zip(column) {
                    Some((row, column)) => {
                        let index = indices[row as usize * frame.width as usize + column as usize];
                        &colors[usize::from(index)][..channels]
                    }
                    None => background,
                });
            }
        }
        let image = match options.pixels {
            PixelFormat::Rgb8 => shown(region, channels, samples, options.transparency),
            PixelFormat::Stored { .. } => Image::of_bytes(region, channels, samples),
        };
        image.ok_or_else(|| damaged("it has an unknown layout"))
    }
}

/// The decoder before the pixels of the first frame, the place of the frame, and the size of the canvas.
fn first_frame(bytes: &[u8]) -> Result<(Frames<'_>, Region, (u32, u32)), String> {
    let mut frames = settings().read_info(Cursor::new(bytes)).map_err(cause)?;
    let screen = (u32::from(frames.width()), u32::from(frames.height()));
    let frame = frames.next_frame_info().map_err(|error| match error {
        DecodingError::Format(_) => damaged("it has no colours, or its first frame is not described"),
        error => cause(error),
    })?;
    let frame = frame.ok_or_else(|| damaged("it has no picture"))?;
    let frame = Region {
        left: frame.left.into(),
        top: frame.top.into(),
        width: frame.width.into(),
        height: frame.height.into(),
    };
    if frame.width == 0 || frame.height == 0 {
        return Err(damaged("its first frame has no pixels"));
    }
    let canvas = (screen.0.max(frame.left + frame.width), screen.1.max(frame.top + frame.height));
    Ok((frames, frame, canvas))
}

fn settings() -> gif::DecodeOptions {
    let mut settings = gif::DecodeOptions::new();
    // The memory of pixels is compared with the file before it is allocated.
    settings.set_memory_limit(NonZeroU64::new(MAX_PIXELS).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
    settings
}

/// Whether the compressed pixels of the first frame are complete.
fn looks_whole(bytes: &[u8]) -> bool {
    let mut settings = settings();
    settings.skip_frame_decoding(true);
    let frame = |mut frames: Frames| frames.read_next_frame().is_ok_and(|frame| frame.is_some());
    Gif::open(bytes).is_ok() && settings.read_info(Cursor::new(bytes)).is_ok_and(frame)
}

fn damaged(cause: &str) -> String {
    format!("the GIF data is damaged: {cause}")
}

/// A user gets only the kind of the error.
fn cause(error: DecodingError) -> String {
    match error {
        DecodingError::UnexpectedEof | DecodingError::Io(_) => CUT_OFF.to_owned(),
        DecodingError::OutOfMemory | DecodingError::MemoryLimit => {
            "there is no memory for its pixels".to_owned()
        }
        DecodingError::LzwError(_) => damaged("its pixels cannot be decompressed"),
        _ => "the GIF data is damaged".to_owned(),
    }
}
