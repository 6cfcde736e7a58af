//! A mosaic: four images that touch a random point with a corner each (Bochkovskiy et al. 2020, *YOLOv4*, §3.3).

use super::warp::{Samples, WarpSample};
use crate::data::geometry::Geometry;
use crate::random::Stream;

/// The number of images of a mosaic.
pub const PARTS: usize = 4;

/// The point where the images of a mosaic meet, in pixels of a canvas with twice the side of the network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MosaicPoint {
    pub x: u32,
    pub y: u32,
    /// The side of the canvas.
    pub canvas: u32,
}

impl MosaicPoint {
    /// Draws y, then x: whole pixels, uniform from a quarter to three quarters of the canvas.
    pub fn draw(side: u32, stream: &mut Stream) -> Self {
        let mut place = || (f64::from(side) * (0.5 + stream.uniform_f64())) as u32;
        let (y, x) = (place(), place());
        Self { x, y, canvas: 2 * side }
    }

    /// The position of the top left corner of a part on the canvas: the parts are left above the point, right above,
    /// left below and right below.
    pub fn corner(&self, part: usize, (width, height): (u32, u32)) -> [i64; 2] {
        let (x, y) = (i64::from(self.x), i64::from(self.y));
        let left = if part.is_multiple_of(2) { x - i64::from(width) } else { x };
        let top = if part < 2 { y - i64::from(height) } else { y };
        [left, top]
    }

    /// The geometric change of a part.
    pub fn geometry(&self, part: usize, size: (u32, u32)) -> Geometry {
        let [left, top] = self.corner(part, size).map(|place| place as f64);
        Geometry::identity(size).then([[1.0, 0.0, left], [0.0, 1.0, top]], (self.canvas, self.canvas))
    }

    /// The canvas with its parts, which are cut at its edges.
    pub fn pixels<T: WarpSample>(&self, parts: &[Samples<T>], channels: usize, pad: T) -> Vec<T> {
        let side = self.canvas as usize;
        let mut canvas = vec![pad; side * side * channels];
        for (number, part) in parts.iter().enumerate() {
            let [left, top] = self.corner(number, part.size);
            let (across, from_x, to_x) = overlap(left, part.size.0, self.canvas);
            let (down, from_y, to_y) = overlap(top, part.size.1, self.canvas);
            let line = part.size.0 as usize * channels;
            for row in 0..down {
                let from = &part.values[(from_y + row) * line + from_x * channels..][..across * channels];
                canvas[((to_y + row) * side + to_x) * channels..][..from.len()].copy_from_slice(from);
            }
        }
        canvas
    }
}

/// The length of the visible part of an axis, and where it begins in the image and on the canvas.
fn overlap(start: i64, length: u32, canvas: u32) -> (usize, usize, usize) {
    let end = (start + i64::from(length)).min(i64::from(canvas));
    let begin = start.max(0);
    ((end - begin).max(0) as usize, (begin - start) as usize, begin as usize)
}
