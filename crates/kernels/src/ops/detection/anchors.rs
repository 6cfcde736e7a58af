//! The anchor points of feature maps, and those inside a box.

use std::ops::Range;

use candle_core::Tensor;

use super::iou::Corners;
use crate::autograd::Value;
use crate::error::{Error, Result};

/// The head's raw outputs for one feature map, with one anchor point at the centre of each cell.
pub struct DetectionLevel<'a> {
    /// The size of a cell in pixels.
    pub stride: usize,
    /// [N, h, w, 4 · bins], sides in the order left, top, right, bottom.
    pub box_logits: &'a Value,
    /// [N, h, w, C]
    pub class_logits: &'a Value,
}

/// One feature map among the anchor points of an image.
#[derive(Clone, Copy, PartialEq)]
pub struct AnchorGrid {
    pub stride: f64,
    pub height: usize,
    pub width: usize,
    /// The index of its first anchor point.
    pub first: usize,
}

impl AnchorGrid {
    pub fn cells(&self) -> usize {
        self.height * self.width
    }

    /// The anchor point of a cell in units of the stride.
    pub fn point(&self, cell: usize) -> [f64; 2] {
        [(cell % self.width) as f64 + 0.5, (cell / self.width) as f64 + 0.5]
    }
}

/// The shape of a head's outputs. Anchor points are numbered by level, row and column.
#[derive(PartialEq)]
pub struct Anchors {
    pub images: usize,
    pub classes: usize,
    pub bins: usize,
    pub grids: Vec<AnchorGrid>,
}

/// An anchor point must be inside its box by more than this, in pixels.
const MARGIN: f64 = 1e-9;

impl Anchors {
    /// Checks that the levels are outputs of one head.
    pub fn of(levels: &[DetectionLevel]) -> Result<Self> {
        let Some(first) = levels.first() else {
            return Err(Error::bug("a detection head without levels"));
        };
        let (images, _, _, channels) = first.box_logits.tensor().dims4()?;
        let (classes, bins) = (first.class_logits.tensor().dims4()?.3, channels / 4);
        let mut anchors = Self { images, classes, bins, grids: Vec::with_capacity(levels.len()) };
        let (device, dtype) = (first.box_logits.tensor().device(), first.box_logits.tensor().dtype());
        for level in levels {
            let [boxes, scores] = [level.box_logits, level.class_logits].map(Value::tensor);
            let (_, height, width, _) = boxes.dims4()?;
            let alike = |tensor: &Tensor| {
                tensor.dtype() == dtype && tensor.device().same_device(device) && tensor.is_contiguous()
            };
            let fits = boxes.dims() == [images, height, width, 4 * bins]
                && scores.dims() == [images, height, width, classes]
                && [boxes, scores].iter().all(|tensor| alike(tensor))
                && level.stride > 0;
            if !fits || bins < 2 || images * classes * height * width == 0 {
                return Err(Error::bug(format!(
                    "a detection head with box logits {:?} and class logits {:?} at stride {}, after {images} \
                     images of {classes} classes and {bins} bins",
                    boxes.shape(),
                    scores.shape(),
                    level.stride
                )));
            }
            let first = anchors.count();
            anchors.grids.push(AnchorGrid { stride: level.stride as f64, height, width, first });
        }
        Ok(anchors)
    }

    /// The number of anchor points of an image.
    pub fn count(&self) -> usize {
        self.grids.last().map_or(0, |grid| grid.first + grid.cells())
    }

    /// The level of an anchor point, and its cell there.
    pub fn locate(&self, anchor: usize) -> (usize, usize) {
        let level = self.grids.partition_point(|grid| grid.first <= anchor) - 1;
        (level, anchor - self.grids[level].first)
    }

    /// Where the anchor points of a box must be. Sides shorter than the second stride count as that long, about
    /// the same centre: small objects would contain no anchor point otherwise.
    pub fn search_area(&self, corners: &Corners) -> Corners {
        let shortest = self.grids.get(1).unwrap_or(&self.grids[0]).stride;
        let mut area = *corners;
        for axis in 0..2 {
            let (low, high) = (corners[axis], corners[axis + 2]);
            if high - low < shortest {
                let centre = (low + high) / 2.0;
                (area[axis], area[axis + 2]) = (centre - shortest / 2.0, centre + shortest / 2.0);
            }
        }
        area
    }

    /// Calls `visit` for each anchor point inside an area, in order.
    pub fn inside(&self, area: &Corners, mut visit: impl FnMut(usize)) {
        for grid in &self.grids {
            let columns = grid.between(grid.width, area[0], area[2]);
            for row in grid.between(grid.height, area[1], area[3]) {
                columns.clone().for_each(|column| visit(grid.first + row * grid.width + column));
            }
        }
    }

    /// Whether an anchor point is inside an area.
    pub fn is_inside(&self, anchor: usize, area: &Corners) -> bool {
        let (level, cell) = self.locate(anchor);
        let grid = &self.grids[level];
        grid.is_between(cell % grid.width, area[0], area[2])
            && grid.is_between(cell / grid.width, area[1], area[3])
    }
}

impl AnchorGrid {
    /// The cells along an axis whose centres are between two bounds in pixels.
    fn between(&self, cells: usize, low: f64, high: f64) -> Range<usize> {
        let Some(first) = (0..cells).find(|cell| self.is_between(*cell, low, high)) else { return 0..0 };
        first..(first..cells).find(|cell| !self.is_between(*cell, low, high)).unwrap_or(cells)
    }

    fn is_between(&self, cell: usize, low: f64, high: f64) -> bool {
        let point = (cell as f64 + 0.5) * self.stride;
        point - low > MARGIN && high - point > MARGIN
    }
}
