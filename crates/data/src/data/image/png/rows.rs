//! Converts rows of a PNG file to pixels.

use std::ops::Range;

use image::RgbImage;
use png::{BitDepth, ColorType};

use super::PngRows;
use crate::data::image::{DecodeOptions, Image, PixelData, PixelFormat, Raster, Region};
use crate::pipeline::{Grey16, Transparency};

/// The sample format of a row.
pub struct RowFormat {
    color: ColorType,
    /// Bytes per sample, high byte first.
    wide: usize,
    /// Whether 16-bit grey is clipped at 255.
    clips: bool,
    transparency: Transparency,
    pixels: PixelFormat,
}

impl RowFormat {
    pub fn of(reader: &PngRows, options: DecodeOptions) -> Self {
        let (color, depth) = reader.output_color_type();
        let wide = if depth == BitDepth::Sixteen { 2 } else { 1 };
        // Pillow has a separate mode for 16-bit grey, but none for 16-bit grey with alpha.
        let clips = reader.info().color_type == ColorType::Grayscale && options.grey16 == Grey16::Clip;
        Self {
            color,
            wide,
            clips: clips && wide == 2,
            transparency: options.transparency,
            pixels: options.pixels,
        }
    }

    /// The bytes per pixel in the file, after expansion to whole bytes.
    fn stored(&self) -> usize {
        self.color.samples() * self.wide
    }

    /// The bytes of a pixel that [`RowFormat::convert`] writes.
    pub fn bytes(&self) -> usize {
        match self.pixels {
            PixelFormat::Rgb8 => 3,
            PixelFormat::Stored { .. } => self.stored(),
        }
    }

    /// The image of a region from its written pixels; `None` if their number is wrong.
    pub fn image(&self, region: Region, pixels: Vec<u8>) -> Option<Image> {
        let Region { width, height, .. } = region;
        if self.pixels == PixelFormat::Rgb8 || (self.color == ColorType::Rgb && self.wide == 1) {
            return RgbImage::from_raw(width, height, pixels).map(Image::Rgb8);
        }
        let samples = match self.wide {
            2 => PixelData::U16(pixels.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()),
            _ => PixelData::U8(pixels),
        };
        Some(Image::Other(Raster { width, height, channels: self.color.samples(), samples }))
    }

    /// Writes columns of a row as RGB8, or in the stored format.
    pub fn convert(&self, row: &[u8], columns: Range<usize>, out: &mut [u8]) {
        let Self { wide, clips, .. } = *self;
        let step = self.stored();
        let row = &row[columns.start * step..columns.end * step];
        if self.pixels != PixelFormat::Rgb8 {
            return out[..row.len()].copy_from_slice(row);
        }
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
