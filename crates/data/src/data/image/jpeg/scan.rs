//! Decodes the entropy-coded data of a scan: directly to samples, or for a progressive file to coefficients.

use std::sync::Arc;

use super::Damage;
use super::bits::{BitReader, EntropySegment};
use super::coefficients::{Band, ac_first, ac_refine, dc_first, dc_refine, sequential};
use super::decoder::{ComponentSamples, place};
use super::geometry::{self, ComponentLayout, ScanUnits};
use super::header::{DecodeTables, Frame, Scan};
use super::huffman::HuffmanTable;
use super::inverse::{Block, Quantization};

/// Decodes one scan.
pub struct ScanDecoder<'a> {
    progressive: bool,
    scan: &'a Scan,
    parts: Vec<ScanComponent<'a>>,
    units: ScanUnits,
    restart_interval: usize,
}

/// A component in a scan.
struct ScanComponent<'a> {
    place: usize,
    layout: &'a ComponentLayout,
    /// Its blocks per unit.
    across: usize,
    down: usize,
    dc: Option<Arc<HuffmanTable>>,
    ac: Option<Arc<HuffmanTable>>,
    quantization: Quantization,
}

impl<'a> ScanDecoder<'a> {
    pub(super) fn new(
        scan: &'a Scan,
        frame: &Frame,
        tables: &DecodeTables,
        layouts: &'a [ComponentLayout],
        components: &mut [ComponentSamples],
    ) -> Result<Self, Damage> {
        let mut parts = Vec::new();
        for &(place, dc, ac) in &scan.components {
            let known = &mut components[place].quantization;
            if known.is_some() && !frame.progressive {
                return Err("it has a component twice");
            }
            let component = &frame.components[place];
            // As libjpeg does: a component uses the quantization table that is current at its first scan.
            let quantization = known
                .or(tables.quantization[component.quantization])
                .ok_or("it lacks a quantisation table")?;
            *known = Some(quantization);
            components[place].known.add(scan);
            let (dc, ac) = (tables.dc[dc].clone(), tables.ac[ac].clone());
            let (needs_dc, needs_ac) = (scan.start == 0 && scan.high == 0, scan.end > 0);
            if needs_dc && dc.is_none() || needs_ac && ac.is_none() {
                return Err("it lacks a Huffman table");
            }
            let (across, down) = (component.across, component.down);
            parts.push(ScanComponent { place, layout: &layouts[place], across, down, dc, ac, quantization });
        }
        let units = match &mut parts[..] {
            [only] => {
                (only.across, only.down) = (1, 1);
                ScanUnits { across: only.layout.alone.0, down: only.layout.alone.1 }
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

    /// Decodes the scan at the start of `bytes`; returns its length.
    pub(super) fn run(
        &self,
        bytes: &[u8],
        segment: &mut EntropySegment,
        components: &mut [ComponentSamples],
    ) -> Result<usize, Damage> {
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
            // A restart number far from the expected one is accepted as the expected one, as libjpeg does; a
            // near one shows that data is missing or repeated.
            match bytes.get(position + 1).map(|marker| marker.wrapping_sub(0xD0)) {
                Some(number @ 0..8) if [0, 3, 4, 5].contains(&(number.wrapping_sub(restart) & 7)) => {}
                _ => return Err("a restart marker is missing"),
            }
            position += 2;
        }
        Ok(position)
    }

    fn read_blocks(
        &self,
        bits: &mut BitReader,
        units: std::ops::Range<usize>,
        components: &mut [ComponentSamples],
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
        bits: &mut BitReader,
        units: std::ops::Range<usize>,
        components: &mut [ComponentSamples],
    ) -> Result<(), Damage> {
        let Scan { start, end, high, low, .. } = *self.scan;
        let mut band = Band { start, end, low, ended: 0 };
        for unit in units {
            let (unit_row, unit_column) = (unit / self.units.across, unit % self.units.across);
            for part in &self.parts {
                let ComponentSamples { coefficients, predicted, .. } = &mut components[part.place];
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
