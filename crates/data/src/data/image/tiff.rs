//! Decodes TIFF files (Adobe, *TIFF Revision 6.0*, 1992): strips or tiles, one picture per file.
//!
//! Directories, strips and tiles are read here and not by the crate `tiff`, which leaves out extra channels and reads
//! planar files short, both without an error. Crates decompress LZW and Deflate.
//!
//! The memory that a picture needs is compared with the bytes of the file before it is allocated.

mod chunks;
mod directory;
mod layout;
mod unpack;

use image::RgbImage;

use self::chunks::decompressed;
use self::layout::{Layout, Photometric, SampleKind};
use super::{
    DecodeOptions, Decoder, Image, ImageFormat, JpegWorkspace, PixelData, PixelFormat, Raster, Region, Scale,
};
use crate::data::code_paths;
use crate::pipeline::Transparency;

pub const FORMAT: ImageFormat = ImageFormat {
    name: "TIFF",
    extensions: &["tif", "tiff"],
    signatures: &[(0, b"II*\0"), (0, b"MM\0*")],
    code_path: code_paths::TIFF,
    open: |bytes| Ok(Box::new(Tiff::open(bytes)?)),
    // Opening checks that all strips or tiles are inside the file.
    looks_whole: |bytes| Tiff::open(bytes).is_ok(),
};

const CUT_OFF: &str = "the TIFF data is cut off";

fn damaged(cause: &str) -> String {
    format!("the TIFF data is damaged: {cause}")
}

/// A file whose directory has been read.
pub struct Tiff<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

impl<'a> Tiff<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        Ok(Self { bytes, layout: Layout::read(bytes)? })
    }

    /// The samples of a region, channels last. Every strip or tile is decompressed, so that damage anywhere is found.
    fn samples<T: Copy + Default>(
        &self,
        region: Region,
        channels: usize,
        take: impl Fn(&[u8], &mut Vec<T>),
    ) -> Result<Vec<T>, String> {
        let layout = &self.layout;
        let (width, height) = (region.width as usize, region.height as usize);
        let mut out: Vec<T> = Vec::new();
        let length = width * height * channels;
        out.try_reserve_exact(length)
            .map_err(|_| format!("there is no memory for the {length} samples of its pixels"))?;
        out.resize(length, T::default());
        let (mut bytes, mut row) = (Vec::new(), Vec::new());
        for chunk in layout.chunks() {
            decompressed(self.bytes, layout, &chunk, &mut bytes)?;
            let columns = overlap(chunk.area.left, chunk.area.width, region.left, region.width);
            let rows = overlap(chunk.area.top, chunk.area.height, region.top, region.height);
            if columns.is_empty() {
                continue;
            }
            for y in rows {
                let line = &bytes[(y - chunk.area.top) as usize * chunk.row_bytes..][..chunk.row_bytes];
                row.clear();
                take(line, &mut row);
                let skip = (columns.start - chunk.area.left) as usize * chunk.samples;
                let pixels = row[skip..].chunks_exact(chunk.samples).take(columns.len());
                let place = (y - region.top) as usize * width + (columns.start - region.left) as usize;
                let out = out[place * channels..].chunks_exact_mut(channels);
                for (out, pixel) in out.zip(pixels) {
                    out[chunk.plane..chunk.plane + chunk.samples].copy_from_slice(pixel);
                }
            }
        }
        Ok(out)
    }

    /// The stored samples of a region.
    fn stored(&self, region: Region) -> Result<Raster, String> {
        let Layout { channels, kind, .. } = self.layout;
        let inverted = self.layout.photometric == Photometric::WhiteIsZero;
        let samples = match kind {
            SampleKind::Bits(bits) => PixelData::U8(
                self.samples(region, channels, |line, row| unpack::bits(line, bits, inverted, row))?,
            ),
            SampleKind::U16 => {
                PixelData::U16(self.samples(region, channels, |line, row| unpack::wide(line, inverted, row))?)
            }
            SampleKind::F16 => PixelData::F32(self.samples(region, channels, unpack::half_floats)?),
            SampleKind::F32 => PixelData::F32(self.samples(region, channels, unpack::floats)?),
        };
        let raster = Raster { width: region.width, height: region.height, channels, samples };
        if let PixelData::F32(samples) = &raster.samples
            && let Some(place) = samples.iter().position(|sample| !sample.is_finite())
        {
            let pixel = (place / channels) as u32;
            let (x, y) = (region.left + pixel % region.width, region.top + pixel / region.width);
            return Err(format!("its value at column {x} and row {y} is not a number"));
        }
        Ok(raster)
    }

    /// The colours of a palette: the high bytes, as in Pillow.
    fn palette_colors(&self, region: Region, palette: &[u16]) -> Result<RgbImage, String> {
        let SampleKind::Bits(bits) = self.layout.kind else {
            return Err(damaged("its palette is too large"));
        };
        let indices = self.samples(region, 1, |line, row| unpack::indices(line, bits, row))?;
        let colors = 1usize << bits;
        let pixels = indices.iter().flat_map(|index| {
            [0, 1, 2].map(|channel| (palette[channel * colors + usize::from(*index)] >> 8) as u8)
        });
        RgbImage::from_raw(region.width, region.height, pixels.collect())
            .ok_or_else(|| damaged("it has an unknown layout"))
    }

    /// Pixels of 8 bits as a person sees them.
    fn rgb8(&self, raster: Raster, transparency: Transparency) -> Result<RgbImage, String> {
        let Layout { channels, premultiplied, .. } = self.layout;
        let PixelData::U8(samples) = raster.samples else { return Err(self.depth_needs_range()) };
        let alpha = self.layout.alpha();
        let color = |pixel: &[u8]| if channels < 3 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] };
        let seen = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            let seen = match (transparency, premultiplied) {
                (Transparency::White, true) => value + 255 - alpha,
                (Transparency::White, false) => (value * alpha + 255 * (255 - alpha) + 127) / 255,
                (Transparency::Drop, true) => (255 * value).checked_div(alpha).unwrap_or(0),
                (Transparency::Drop, false) => value,
            };
            seen.min(255) as u8
        };
        let pixels = samples.chunks_exact(channels).flat_map(|pixel| match alpha {
            Some(place) => color(pixel).map(|value| seen(value, pixel[place])),
            None => color(pixel),
        });
        RgbImage::from_raw(raster.width, raster.height, pixels.collect())
            .ok_or_else(|| damaged("it has an unknown layout"))
    }

    fn depth_needs_range(&self) -> String {
        let (what, example) = match self.layout.kind {
            SampleKind::F16 | SampleKind::F32 => ("floats", "[0, 1]"),
            SampleKind::U16 | SampleKind::Bits(_) => ("numbers of 16 bits", "[0, 65535]"),
        };
        format!(
            "its values are {what}, so the data set must say which are black and white: `range = {example}`, for example"
        )
    }
}

impl Decoder for Tiff<'_> {
    fn size(&self) -> (u32, u32) {
        (self.layout.width, self.layout.height)
    }

    /// The file itself: its directory has the form of EXIF data, with the orientation under the same tag.
    fn exif(&self) -> Option<&[u8]> {
        Some(self.bytes)
    }

    fn accepts(&self, options: DecodeOptions) -> Result<(), String> {
        let is_byte = matches!(self.layout.kind, SampleKind::Bits(_));
        if !is_byte && options.pixels != (PixelFormat::Stored { has_range: true }) {
            return Err(self.depth_needs_range());
        }
        let channels = self.layout.channels;
        if options.pixels == PixelFormat::Rgb8 && !self.layout.has_shown_channels() {
            return Err(format!("it has {channels} channels: the data set must say `channels = {channels}`"));
        }
        Ok(())
    }

    fn decode(
        &self,
        _: Scale,
        region: Region,
        options: DecodeOptions,
        _: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        self.accepts(options)?;
        if let Photometric::Palette(palette) = &self.layout.photometric {
            return self.palette_colors(region, palette).map(Image::Rgb8);
        }
        let raster = self.stored(region)?;
        match options.pixels {
            PixelFormat::Rgb8 => self.rgb8(raster, options.transparency).map(Image::Rgb8),
            PixelFormat::Stored { .. } => Ok(raster.into()),
        }
    }
}

/// The places that two lines have in common.
fn overlap(start: u32, length: u32, other: u32, other_length: u32) -> std::ops::Range<u32> {
    let first = start.max(other);
    first..(start + length).min(other + other_length).max(first)
}

#[cfg(test)]
mod tests;
