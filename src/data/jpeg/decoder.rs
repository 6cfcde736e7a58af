//! From a file to the pixels of a region.

use std::sync::Arc;

use super::Damage;
use super::bits::{Bits, Segment};
use super::coefficients::{Band, ac_first, ac_refine, dc_first, dc_refine, sequential};
use super::color::Painter;
use super::geometry::{self, Layout, Scale, Units};
use super::header::{END_OF_IMAGE, Frame, Header, START_OF_SCAN, Scan, Tables};
use super::huffman::Table;
use super::inverse::{Block, Quantization, inverse};
use crate::data::Region;

/// A file whose headers have been read.
pub struct Jpeg<'a> {
    header: Header<'a>,
}

/// Memory that decoding needs, kept from one file to the next.
#[derive(Default)]
pub struct Workspace {
    segment: Segment,
    components: Vec<Samples>,
    painter: Painter,
    pixels: Vec<u8>,
}

impl Workspace {
    /// Takes back pixels that are no longer needed, to be written over.
    pub fn reuse(&mut self, pixels: Vec<u8>) {
        self.pixels = pixels;
    }
}

/// What is known of one component.
#[derive(Default)]
pub(super) struct Samples {
    /// The blocks that the region needs, as rows of samples.
    pub plane: Vec<u8>,
    /// All blocks of a progressive file, until its last scan.
    coefficients: Vec<Block>,
    quantization: Option<Quantization>,
    predicted: i32,
}

impl<'a> Jpeg<'a> {
    /// Reads all ahead of the first scan.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Damage> {
        Ok(Self { header: Header::read(bytes)? })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.header.frame.width as u32, self.header.frame.height as u32)
    }

    /// The EXIF data, without its name.
    pub fn exif(&self) -> Option<&'a [u8]> {
        self.header.exif
    }

    /// The pixels of a region, which is counted in pixels of the scale, as RGB8. The whole file is read all the same.
    pub fn decode(&self, scale: Scale, region: Region, workspace: &mut Workspace) -> Result<Vec<u8>, Damage> {
        let frame = &self.header.frame;
        let layouts = geometry::layouts(frame, scale, region)?;
        let blocks: usize = layouts.iter().map(|layout| layout.blocks_across * layout.blocks_down).sum();
        if blocks > 8 * self.header.scans.bytes.len() {
            // Every block has a bit at least: a damaged size must not have memory taken for it.
            return Err("there is too little of it for its size");
        }
        let Workspace { segment, components, painter, pixels } = workspace;
        components.resize_with(frame.components.len(), Samples::default);
        for (samples, layout) in components.iter_mut().zip(&layouts) {
            samples.quantization = None;
            samples.plane.resize(layout.samples(), 0);
            samples.coefficients.clear();
            if frame.progressive {
                samples.coefficients.resize(layout.blocks_across * layout.blocks_down, [0; 64]);
            }
        }
        let mut tables = self.header.tables.clone();
        let mut segments = self.header.scans.clone();
        loop {
            let (marker, content) = segments.next()?;
            match marker {
                START_OF_SCAN => {
                    let scan = Scan::read(content, frame)?;
                    let reading = Reading::new(&scan, frame, &tables, &layouts, components)?;
                    segments.position +=
                        reading.run(&segments.bytes[segments.position..], segment, components)?;
                }
                END_OF_IMAGE => break,
                _ => tables.read(marker, content)?,
            }
        }
        for (samples, layout) in components.iter_mut().zip(&layouts) {
            let quantization = samples.quantization.ok_or("it lacks a component")?;
            if frame.progressive {
                samples.transform(&quantization, layout);
            }
        }
        let mut pixels = std::mem::take(pixels);
        painter.paint(frame.colors, components, &layouts, region, &mut pixels);
        Ok(pixels)
    }
}

impl Samples {
    /// All needed blocks of a progressive file.
    fn transform(&mut self, quantization: &Quantization, layout: &Layout) {
        for row in layout.rows.clone() {
            for column in layout.columns.clone() {
                let block = &self.coefficients[row * layout.blocks_across + column];
                let flat = block[1..].iter().all(|coefficient| *coefficient == 0);
                place(block, quantization, flat, layout, column, row, &mut self.plane);
            }
        }
    }
}

/// Transforms a block into its place in the plane.
#[inline(always)]
fn place(
    block: &Block,
    quantization: &Quantization,
    flat: bool,
    layout: &Layout,
    column: usize,
    row: usize,
    plane: &mut [u8],
) {
    let (size, stride) = (layout.size, layout.stride());
    let start = (row - layout.rows.start) * size * stride + (column - layout.columns.start) * size;
    inverse(block, quantization, flat, size, &mut plane[start..], stride);
}

/// One scan, ready to be read.
struct Reading<'a> {
    progressive: bool,
    scan: &'a Scan,
    parts: Vec<Part<'a>>,
    units: Units,
    restart_interval: usize,
}

/// A component in a scan.
struct Part<'a> {
    place: usize,
    layout: &'a Layout,
    /// Blocks of it in a unit.
    across: usize,
    down: usize,
    dc: Option<Arc<Table>>,
    ac: Option<Arc<Table>>,
    quantization: Quantization,
}

impl<'a> Reading<'a> {
    fn new(
        scan: &'a Scan,
        frame: &Frame,
        tables: &Tables,
        layouts: &'a [Layout],
        components: &mut [Samples],
    ) -> Result<Self, Damage> {
        let mut parts = Vec::new();
        for &(place, dc, ac) in &scan.components {
            let known = &mut components[place].quantization;
            if known.is_some() && !frame.progressive {
                return Err("it has a component twice");
            }
            let component = &frame.components[place];
            // As libjpeg: the table that stands at the component's first scan is its table.
            let quantization = known
                .or(tables.quantization[component.quantization])
                .ok_or("it lacks a quantisation table")?;
            *known = Some(quantization);
            let (dc, ac) = (tables.dc[dc].clone(), tables.ac[ac].clone());
            let (needs_dc, needs_ac) = (scan.start == 0 && scan.high == 0, scan.end > 0);
            if needs_dc && dc.is_none() || needs_ac && ac.is_none() {
                return Err("it lacks a Huffman table");
            }
            let (across, down) = (component.across, component.down);
            parts.push(Part { place, layout: &layouts[place], across, down, dc, ac, quantization });
        }
        let units = match &mut parts[..] {
            [only] => {
                (only.across, only.down) = (1, 1);
                Units { across: only.layout.alone.0, down: only.layout.alone.1 }
            }
            _ => geometry::units(frame),
        };
        Ok(Self {
            progressive: frame.progressive,
            scan,
            parts,
            units,
            restart_interval: tables.restart_interval,
        })
    }

    /// Reads the scan, which starts at `bytes`; returns how long it is.
    fn run(&self, bytes: &[u8], segment: &mut Segment, components: &mut [Samples]) -> Result<usize, Damage> {
        let total = self.units.across * self.units.down;
        let interval = if self.restart_interval == 0 { total } else { self.restart_interval };
        let (mut position, mut unit) = (0, 0);
        for restart in 0u8.. {
            position += segment.fill(&bytes[position..])?;
            let end = total.min(unit + interval);
            components.iter_mut().for_each(|samples| samples.predicted = 0);
            let mut bits = segment.bits();
            if self.progressive {
                self.read_band(&mut bits, unit..end, components)?;
            } else {
                self.read_blocks(&mut bits, unit..end, components)?;
            }
            bits.finish()?;
            unit = end;
            if unit == total {
                break;
            }
            if bytes.get(position + 1) != Some(&(0xD0 | restart & 7)) {
                return Err("a restart marker is missing");
            }
            position += 2;
        }
        Ok(position)
    }

    fn read_blocks(
        &self,
        bits: &mut Bits,
        units: std::ops::Range<usize>,
        components: &mut [Samples],
    ) -> Result<(), Damage> {
        let mut block: Block = [0; 64];
        for unit in units {
            let (unit_row, unit_column) = (unit / self.units.across, unit % self.units.across);
            for part in &self.parts {
                let (Some(dc), Some(ac)) = (&part.dc, &part.ac) else { continue };
                let samples = &mut components[part.place];
                for down in 0..part.down {
                    for across in 0..part.across {
                        let flat = sequential(bits, dc, ac, &mut samples.predicted, &mut block)?;
                        let (column, row) = (unit_column * part.across + across, unit_row * part.down + down);
                        if part.layout.is_needed(column, row) {
                            place(
                                &block,
                                &part.quantization,
                                flat,
                                part.layout,
                                column,
                                row,
                                &mut samples.plane,
                            );
                        }
                        if !flat {
                            block = [0; 64];
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn read_band(
        &self,
        bits: &mut Bits,
        units: std::ops::Range<usize>,
        components: &mut [Samples],
    ) -> Result<(), Damage> {
        let Scan { start, end, high, low, .. } = *self.scan;
        let mut band = Band { start, end, low, ended: 0 };
        for unit in units {
            let (unit_row, unit_column) = (unit / self.units.across, unit % self.units.across);
            for part in &self.parts {
                let Samples { coefficients, predicted, .. } = &mut components[part.place];
                for down in 0..part.down {
                    for across in 0..part.across {
                        let (column, row) = (unit_column * part.across + across, unit_row * part.down + down);
                        let block = &mut coefficients[row * part.layout.blocks_across + column];
                        match (&part.dc, &part.ac) {
                            (Some(dc), _) if start == 0 && high == 0 => {
                                dc_first(bits, dc, predicted, low, block)?;
                            }
                            _ if start == 0 => dc_refine(bits, low, block)?,
                            (_, Some(ac)) if high == 0 => ac_first(bits, ac, &mut band, block)?,
                            (_, Some(ac)) => ac_refine(bits, ac, &mut band, block)?,
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
