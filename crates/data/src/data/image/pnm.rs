//! Decodes PBM, PGM and PPM files (Netpbm's formats P1 to P6), with numbers in text or in bytes. Of several pictures in a
//! file, the first is read.
//!
//! A number is a fraction of the header's largest value. It is scaled and rounded as in Pillow.

mod header;
mod plain;

use self::header::Header;
use super::decode::reserve_pixels;
use super::{
    DecodeOptions, Decoder, Image, ImageFormat, JpegWorkspace, PixelData, PixelFormat, Raster, Region, Scale,
};
use crate::data::code_paths;
use crate::pipeline::Grey16;

pub const FORMAT: ImageFormat = ImageFormat {
    name: "PNM",
    extensions: &["pnm", "ppm", "pgm", "pbm"],
    signatures: &[(0, b"P1"), (0, b"P2"), (0, b"P3"), (0, b"P4"), (0, b"P5"), (0, b"P6")],
    code_path: code_paths::PNM,
    open: |bytes| Ok(Box::new(Pnm::open(bytes)?)),
    looks_whole: |bytes| Pnm::open(bytes).is_ok_and(|file| file.check_text().is_ok()),
};

const CUT_OFF: &str = "the PNM data is cut off";

fn damaged(cause: &str) -> String {
    format!("the PNM data is damaged: {cause}")
}

/// A file whose header has been read, and which is long enough for its size.
pub struct Pnm<'a> {
    header: Header,
    /// What follows the header.
    data: &'a [u8],
}

impl<'a> Pnm<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let (header, data) = Header::read(bytes)?;
        if header.least_bytes() > data.len() as u64 {
            return Err(CUT_OFF.into());
        }
        Ok(Self { header, data })
    }

    /// Whether the numbers of a text are complete.
    fn check_text(&self) -> Result<(), String> {
        if self.header.is_text { self.each_of_text(|_, _| ()) } else { Ok(()) }
    }

    fn each_of_text(&self, mut take: impl FnMut(u64, u16)) -> Result<(), String> {
        let mut numbers = plain::Numbers::new(self.data);
        let Header { is_bitmap, largest, .. } = self.header;
        for place in 0..self.header.samples() {
            take(place, if is_bitmap { numbers.bit()? } else { numbers.next(largest)? });
        }
        Ok(())
    }

    /// The samples of a region as stored, channels last; those of a bitmap are 1 where it is white.
    fn samples(&self, region: Region) -> Result<Vec<u16>, String> {
        let Header { width, channels, largest, is_bitmap, is_text, .. } = self.header;
        let (width, stride) = (width as usize, width as usize * channels);
        let columns = region.left as usize * channels..(region.left + region.width) as usize * channels;
        let rows = region.top as usize..(region.top + region.height) as usize;
        let length = columns.len() * rows.len();
        let mut samples: Vec<u16> = Vec::new();
        samples
            .try_reserve_exact(length)
            .map_err(|_| format!("there is no memory for the {length} samples of its pixels"))?;
        if is_text {
            self.each_of_text(|place, value| {
                let (row, column) = (place as usize / stride, place as usize % stride);
                if rows.contains(&row) && columns.contains(&column) {
                    samples.push(if is_bitmap { 1 - value } else { value });
                }
            })?;
        } else if is_bitmap {
            for row in self.data.chunks_exact(width.div_ceil(8)).take(rows.end).skip(rows.start) {
                let bit = |column: usize| u16::from(row[column / 8] >> (7 - column % 8) & 1);
                samples.extend(columns.clone().map(|column| 1 - bit(column)));
            }
        } else if largest < 256 {
            for row in self.data.chunks_exact(stride).take(rows.end).skip(rows.start) {
                samples.extend(row[columns.clone()].iter().map(|sample| u16::from(*sample)));
            }
        } else {
            for row in self.data.chunks_exact(2 * stride).take(rows.end).skip(rows.start) {
                let pairs = row.as_chunks().0[columns.clone()].iter();
                samples.extend(pairs.map(|pair| u16::from_be_bytes(*pair)));
            }
        }
        Ok(samples)
    }

    /// Pixels of 8 bits: colours of 16 bits are scaled to bytes, grey ones to 16 bits first.
    fn rgb8(&self, samples: &[u16], grey16: Grey16) -> Result<Vec<u8>, String> {
        let Header { largest, channels, .. } = self.header;
        let byte: Vec<u8> = if channels == 3 || largest < 256 {
            (0..=largest).map(|sample| scaled(sample, largest, 255) as u8).collect()
        } else {
            let byte = |wide: u16| match grey16 {
                Grey16::HighByte => (wide >> 8) as u8,
                Grey16::Clip => wide.min(255) as u8,
            };
            (0..=largest).map(|sample| byte(scaled(sample, largest, 65535))).collect()
        };
        let byte = |sample: u16| byte[usize::from(sample.min(largest))];
        let mut pixels = Vec::new();
        let repeats = 3 / channels;
        reserve_pixels(&mut pixels, samples.len() * repeats)?;
        samples.iter().for_each(|sample| pixels.extend(std::iter::repeat_n(byte(*sample), repeats)));
        Ok(pixels)
    }
}

impl Decoder for Pnm<'_> {
    fn size(&self) -> (u32, u32) {
        (self.header.width, self.header.height)
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
        let samples = self.samples(region)?;
        let Header { largest, channels, is_bitmap, .. } = self.header;
        let Region { width, height, .. } = region;
        let stored = match options.pixels {
            PixelFormat::Rgb8 => {
                let pixels = self.rgb8(&samples, options.grey16)?;
                return Image::of_bytes(region, 3, pixels).ok_or_else(|| damaged("it has an unknown layout"));
            }
            // A declared range is one of the numbers in the file.
            PixelFormat::Stored { has_range: true } if !is_bitmap => largest,
            PixelFormat::Stored { .. } if largest < 256 => 255,
            PixelFormat::Stored { .. } => 65535,
        };
        let value = |sample: u16| scaled(sample.min(largest), largest, stored);
        let samples = if largest < 256 {
            PixelData::U8(samples.into_iter().map(|sample| value(sample) as u8).collect())
        } else {
            PixelData::U16(samples.into_iter().map(value).collect())
        };
        Ok(Raster { width, height, channels, samples }.into())
    }
}

/// A number in another scale, rounded as by Python's `round`.
fn scaled(sample: u16, largest: u16, other: u16) -> u16 {
    (f64::from(sample) / f64::from(largest) * f64::from(other)).round_ties_even() as u16
}
