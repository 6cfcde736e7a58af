//! The position of each component's samples, for a scale and a region.

use std::ops::Range;

use super::Damage;
use super::header::Frame;
use crate::data::Region;

/// The reduction inside the inverse DCT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scale {
    Whole = 1,
    Half = 2,
    Quarter = 4,
    Eighth = 8,
}

impl Scale {
    /// Smallest first.
    pub const ALL: [Self; 4] = [Self::Eighth, Self::Quarter, Self::Half, Self::Whole];

    /// The number of pixels per result pixel, along each axis.
    pub fn divisor(self) -> u32 {
        self as u32
    }

    /// The length of an axis at this scale.
    pub fn of(self, length: u32) -> u32 {
        length.div_ceil(self.divisor())
    }

    /// The side of a block in pixels.
    fn block(self) -> usize {
        8 / self as usize
    }
}

/// The units (MCUs) of a scan: their number, and the blocks of each component in one.
pub struct ScanUnits {
    pub across: usize,
    pub down: usize,
}

/// One component at a scale.
#[derive(Clone, Debug)]
pub struct ComponentLayout {
    /// Samples along a side of a block: 8, 4, 2 or 1.
    pub size: usize,
    /// Pixels per sample along each axis.
    pub across: usize,
    pub down: usize,
    /// Whether upsampling interpolates; otherwise samples are repeated.
    pub smooth: bool,
    /// The samples inside the image; blocks extend further.
    pub width: usize,
    pub height: usize,
    /// Blocks in the file, including those that only complete the last units.
    pub blocks_across: usize,
    pub blocks_down: usize,
    /// Blocks in a scan of only this component.
    pub alone: (usize, usize),
    /// Blocks of the region.
    pub columns: Range<usize>,
    pub rows: Range<usize>,
}

impl ComponentLayout {
    pub fn is_needed(&self, column: usize, row: usize) -> bool {
        self.columns.contains(&column) && self.rows.contains(&row)
    }

    /// Samples between rows of the plane.
    pub fn stride(&self) -> usize {
        self.columns.len() * self.size
    }

    /// The first row and column of the plane.
    pub fn origin(&self) -> (usize, usize) {
        (self.columns.start * self.size, self.rows.start * self.size)
    }

    pub fn samples(&self) -> usize {
        self.stride() * self.rows.len() * self.size
    }
}

/// The units of a scan of all components.
pub fn units(frame: &Frame) -> ScanUnits {
    let (across, down) = most(frame);
    ScanUnits { across: frame.width.div_ceil(8 * across), down: frame.height.div_ceil(8 * down) }
}

/// The maximum sampling factors.
fn most(frame: &Frame) -> (usize, usize) {
    let factors = frame.components.iter().map(|component| (component.across, component.down));
    factors.fold((1, 1), |most, factor| (most.0.max(factor.0), most.1.max(factor.1)))
}

/// Lays out all components for a region in pixels of the scale.
pub fn layouts(frame: &Frame, scale: Scale, region: Region) -> Result<Vec<ComponentLayout>, Damage> {
    let (most_across, most_down) = most(frame);
    let units = units(frame);
    let block = scale.block();
    let layout = |component: &super::header::Component| {
        // As libjpeg does: a subsampled component is reduced less in its transform, instead of being upsampled
        // afterwards.
        let mut size = block;
        while size < 8
            && (most_across * block).is_multiple_of(component.across * size * 2)
            && (most_down * block).is_multiple_of(component.down * size * 2)
        {
            size *= 2;
        }
        let (wide, high) = (most_across * block, most_down * block);
        if !wide.is_multiple_of(component.across * size) || !high.is_multiple_of(component.down * size) {
            return Err("its sampling factors are not supported");
        }
        let (across, down) = (wide / (component.across * size), high / (component.down * size));
        let width = (frame.width * component.across * size).div_ceil(8 * most_across);
        let height = (frame.height * component.down * size).div_ceil(8 * most_down);
        let alone = |length: usize, factor: usize, most: usize| (length * factor).div_ceil(8 * most);
        // One more sample on each side, for interpolation.
        let blocks = |first: u32, length: u32, ratio: usize, samples: usize| {
            let first = first as usize;
            let end = (first + length as usize - 1) / ratio + 2;
            (first / ratio).saturating_sub(1) / size..end.min(samples).div_ceil(size)
        };
        Ok(ComponentLayout {
            size,
            across,
            down,
            smooth: block > 1 && (across == 1 || width > 2),
            width,
            height,
            blocks_across: units.across * component.across,
            blocks_down: units.down * component.down,
            alone: (
                alone(frame.width, component.across, most_across),
                alone(frame.height, component.down, most_down),
            ),
            columns: blocks(region.left, region.width, across, width),
            rows: blocks(region.top, region.height, down, height),
        })
    };
    frame.components.iter().map(layout).collect()
}
