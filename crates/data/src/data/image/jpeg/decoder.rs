//! Decodes a file to the pixels of a region.

use super::bits::EntropySegment;
use super::color::ColorConverter;
use super::geometry::{self, ComponentLayout, Scale};
use super::header::{END_OF_IMAGE, Header, START_OF_SCAN, Scan};
use super::inverse::{Block, Quantization, inverse};
use super::scan::ScanDecoder;
use super::smooth::{self, CoefficientPrecision, smoothed};
use super::{CUT_OFF, Damage};
use crate::data::Region;

/// More scans than any encoder writes: each is a pass over all blocks, however few bytes it has.
const MOST_SCANS: usize = 500;

/// A file whose headers have been read.
pub struct Jpeg<'a> {
    header: Header<'a>,
}

/// Reusable memory for decoding.
#[derive(Default)]
pub struct JpegWorkspace {
    segment: EntropySegment,
    components: Vec<ComponentSamples>,
    painter: ColorConverter,
    pixels: Vec<u8>,
}

impl JpegWorkspace {
    /// Returns pixels whose memory may be reused.
    pub fn reuse(&mut self, pixels: Vec<u8>) {
        self.pixels = pixels;
    }
}

/// The samples of one component.
#[derive(Default)]
pub(super) struct ComponentSamples {
    /// The blocks of the region, as rows of samples.
    pub plane: Vec<u8>,
    /// All blocks of a progressive file, until the last scan.
    pub coefficients: Vec<Block>,
    pub quantization: Option<Quantization>,
    /// For a progressive file: how many bits of each coefficient are known.
    pub known: CoefficientPrecision,
    pub predicted: i32,
}

impl<'a> Jpeg<'a> {
    /// Reads everything before the first scan.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Damage> {
        let header = Header::read(bytes)?;
        // An end marker before the scan, such as that of a thumbnail, is ignored.
        let ends = |bytes: &[u8]| bytes.windows(2).rev().any(|pair| pair == [0xFF, END_OF_IMAGE]);
        if ends(&bytes[header.scans.position..]) { Ok(Self { header }) } else { Err(CUT_OFF) }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.header.frame.width as u32, self.header.frame.height as u32)
    }

    /// The EXIF data, without its header.
    pub fn exif(&self) -> Option<&'a [u8]> {
        self.header.exif
    }

    /// Decodes a region, in pixels of the scale, as RGB8. The whole file is read in any case.
    pub fn decode(
        &self,
        scale: Scale,
        region: Region,
        workspace: &mut JpegWorkspace,
    ) -> Result<Vec<u8>, Damage> {
        let frame = &self.header.frame;
        let layouts = geometry::layouts(frame, scale, region)?;
        let blocks: usize = layouts.iter().map(|layout| layout.blocks_across * layout.blocks_down).sum();
        if blocks > 8 * self.header.scans.bytes.len() {
            // Every block has at least one bit, so a damaged size does not allocate memory.
            return Err("there is too little of it for its size");
        }
        let JpegWorkspace { segment, components, painter, pixels } = workspace;
        components.resize_with(frame.components.len(), ComponentSamples::default);
        for (samples, layout) in components.iter_mut().zip(&layouts) {
            samples.quantization = None;
            samples.known = CoefficientPrecision::default();
            resize(&mut samples.plane, layout.samples(), 0)?;
            samples.coefficients.clear();
            if frame.progressive {
                resize(&mut samples.coefficients, layout.blocks_across * layout.blocks_down, [0; 64])?;
            }
        }
        let mut tables = self.header.tables.clone();
        let mut segments = self.header.scans.clone();
        let mut scans = 0;
        loop {
            let (marker, content) = segments.next()?;
            match marker {
                START_OF_SCAN => {
                    scans += 1;
                    if scans > MOST_SCANS {
                        return Err("it has too many scans");
                    }
                    let scan = Scan::read(content, frame)?;
                    let reading = ScanDecoder::new(&scan, frame, &tables, &layouts, components)?;
                    segments.position +=
                        reading.run(&segments.bytes[segments.position..], segment, components)?;
                }
                END_OF_IMAGE => break,
                _ => tables.read(marker, content)?,
            }
        }
        let tables = components.iter().map(|samples| samples.quantization).collect::<Option<Vec<_>>>();
        let tables = tables.ok_or("it lacks a component")?;
        if frame.progressive {
            let known = components.iter().map(|samples| &samples.known);
            let smooths = smooth::is_needed(known.zip(&tables)).then(|| geometry::units(frame).down);
            for ((samples, layout), table) in components.iter_mut().zip(&layouts).zip(&tables) {
                samples.transform(table, layout, smooths);
            }
        }
        let mut pixels = std::mem::take(pixels);
        resize(&mut pixels, region.width as usize * region.height as usize * 3, 0)?;
        painter.paint(frame.colors, components, &layouts, region, &mut pixels);
        Ok(pixels)
    }
}

/// Resizes a buffer, and fails if there is not enough memory.
fn resize<T: Clone>(items: &mut Vec<T>, length: usize, value: T) -> Result<(), Damage> {
    items
        .try_reserve_exact(length.saturating_sub(items.len()))
        .map_err(|_| "there is no memory for a picture of its size")?;
    items.resize(length, value);
    Ok(())
}

impl ComponentSamples {
    /// Transforms all needed blocks of a progressive file, and smooths them if `smooths` gives the number of
    /// unit rows.
    fn transform(&mut self, quantization: &Quantization, layout: &ComponentLayout, smooths: Option<usize>) {
        for row in layout.rows.clone() {
            for column in layout.columns.clone() {
                let at = (column, row);
                let block = match smooths {
                    Some(units) => smoothed(&self.coefficients, at, layout, units, &self.known, quantization),
                    None => self.coefficients[row * layout.blocks_across + column],
                };
                let flat = block[1..].iter().all(|coefficient| *coefficient == 0);
                place(&block, quantization, flat, layout, column, row, &mut self.plane);
            }
        }
    }
}

/// Transforms a block to its position in the plane.
#[inline(always)]
pub(super) fn place(
    block: &Block,
    quantization: &Quantization,
    flat: bool,
    layout: &ComponentLayout,
    column: usize,
    row: usize,
    plane: &mut [u8],
) {
    let (size, stride) = (layout.size, layout.stride());
    let start = (row - layout.rows.start) * size * stride + (column - layout.columns.start) * size;
    inverse(block, quantization, flat, size, &mut plane[start..], stride);
}
