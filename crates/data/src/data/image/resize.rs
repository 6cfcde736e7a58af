//! Bilinear resizing with antialiasing, with the bits of Pillow's `Image.resize(size, BILINEAR)`.
//!
//! Pillow makes two passes. Each is a weighted sum in 22-bit fixed point, rounded to 8 bits, with the weights of
//! a triangle filter that is stretched when shrinking. All arithmetic is on integers, so the result is the same
//! on every machine. Rows come first; since Pillow 13, columns come first if the height shrinks by more than
//! twice as many pixels as the width. (Images scaled in proportion are not affected; elsewhere earlier versions
//! differ by 1 in some samples.)

use std::ops::Range;

use image::RgbImage;

use super::Raster;
use super::resample::{Filter, Plane, Weight};
use super::resample_float::resample;

/// A rectangle inside an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

impl Region {
    /// The whole image.
    pub fn of(image: &RgbImage) -> Self {
        Self::whole(image.dimensions())
    }

    /// The whole image of this size.
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self { left: 0, top: 0, width, height }
    }
}

/// Resizes a part of an image as if it were cropped first: pixels around the region have no influence.
///
/// The region must be inside the image; `width`, `height` and both sides of the region must be at least 1.
pub fn resize(image: &RgbImage, region: Region, width: u32, height: u32) -> RgbImage {
    let size = (width, height);
    let resizing = ResizePlan::new(region, 1, size, Region::whole(size));
    let mut pixels = Vec::new();
    resizing.run(image, (0, 0), &mut Vec::new(), &mut pixels);
    RgbImage::from_raw(width, height, pixels).expect("the buffer was made for this size")
}

/// A planned resize, and the pixels it needs.
pub struct ResizePlan<W = i32> {
    across: Filter<W>,
    down: Filter<W>,
    columns_first: bool,
    source: Region,
}

impl<W: Weight> ResizePlan<W> {
    fn of(region: Region, divisor: u32, size: (u32, u32), window: Region) -> Self {
        let axis = |start: u32, length: u32, output: u32, positions: Range<u32>| {
            let (first, end) = (start / divisor, (start + length).div_ceil(divisor));
            let part = |place: u32| f64::from(place) / f64::from(divisor) - f64::from(first);
            (first, Filter::new(end - first, part(start)..part(start + length), output, positions))
        };
        let (left, across) = axis(region.left, region.width, size.0, window.left..window.left + window.width);
        let (top, down) = axis(region.top, region.height, size.1, window.top..window.top + window.height);
        let shrink = |from: u32, to: u32| f64::from(from) / f64::from(divisor) - f64::from(to);
        let rows_lost = shrink(region.height, size.1);
        let source = Region {
            left: left + across.first as u32,
            top: top + down.first as u32,
            width: across.reach as u32,
            height: down.reach as u32,
        };
        let columns_first = rows_lost > 0.0 && rows_lost > 2.0 * shrink(region.width, size.0);
        Self { across, down, columns_first, source }
    }

    /// The pixels of the available image that affect the result.
    pub fn source(&self) -> Region {
        self.source
    }
}

impl ResizePlan {
    /// Plans scaling a region to a size and computing only a window of the result. The window has the same pixels as
    /// in the full result. The available image may be reduced by `divisor`; the region's edges are then between
    /// pixels. The result equals Pillow's `resize(size, box=…)` on the pixels that the region touches.
    ///
    /// The region must be inside the image and the window inside the size. Each must have at least one pixel.
    pub fn new(region: Region, divisor: u32, size: (u32, u32), window: Region) -> Self {
        Self::of(region, divisor, size, window)
    }

    /// Computes the window from an image whose first pixel is at `origin` of the available image.
    pub fn run(&self, image: &RgbImage, origin: (u32, u32), between: &mut Vec<u8>, out: &mut Vec<u8>) {
        let Region { left, top, width, height } = self.source;
        let stride = image.width() as usize * 3;
        let start = (top - origin.1) as usize * stride + (left - origin.0) as usize * 3;
        let (width, height) = (width as usize, height as usize);
        let source = Plane { samples: &image.as_raw()[start..], stride, width, height };
        if self.columns_first {
            source.columns(&self.down, between);
            Plane::tight(between, width, self.down.len()).rows(&self.across, out);
        } else {
            source.rows(&self.across, between);
            Plane::tight(between, self.across.len(), height).columns(&self.down, out);
        }
    }
}

impl ResizePlan<f64> {
    /// As [`ResizePlan::new`], for pixels that are not RGB8.
    pub fn in_floats(region: Region, divisor: u32, size: (u32, u32), window: Region) -> Self {
        Self::of(region, divisor, size, window)
    }

    /// Computes the window's samples from an image whose first pixel is at `origin` of the picture.
    pub fn floats(&self, raster: &Raster, origin: (u32, u32)) -> Vec<f32> {
        let Region { left, top, width, height } = self.source;
        let samples = raster.floats(Region { left: left - origin.0, top: top - origin.1, width, height });
        resample(&samples, (width as usize, raster.channels), &self.across, &self.down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::Fixtures;

    #[test]
    fn every_size_is_bit_exact_with_pillow() {
        let fixtures = Fixtures::open("resized.safetensors");
        let mut compared = 0;
        for name in fixtures.names() {
            let Some((source, _)) = name.split_once("->") else { continue };
            let (source, expected) = (fixtures.image(source), fixtures.image(&name));
            let actual = resize(&source, Region::of(&source), expected.width(), expected.height());
            assert!(actual == expected, "{name} differs");
            compared += 1;
        }
        assert_eq!(compared, 27);
    }

    #[test]
    fn a_region_is_resized_as_if_cut_out() {
        let source = Fixtures::open("resized.safetensors").image("53x37");
        let region = Region { left: 7, top: 11, width: 20, height: 9 };
        let cut = image::imageops::crop_imm(&source, 7, 11, 20, 9).to_image();
        assert_eq!(resize(&source, region, 13, 14), resize(&cut, Region::of(&cut), 13, 14));
    }

    fn resize_window(image: &RgbImage, size: (u32, u32), window: Region) -> RgbImage {
        let mut pixels = Vec::new();
        ResizePlan::new(Region::of(image), 1, size, window).run(image, (0, 0), &mut Vec::new(), &mut pixels);
        RgbImage::from_raw(window.width, window.height, pixels).unwrap()
    }

    #[test]
    fn a_window_is_cut_from_the_whole() {
        let source = Fixtures::open("resized.safetensors").image("53x37");
        for (width, height) in [(30, 21), (70, 60), (60, 15)] {
            let whole = resize(&source, Region::of(&source), width, height);
            let window = Region { left: 9, top: 3, width: 20, height: 11 };
            let part = resize_window(&source, (width, height), window);
            assert_eq!(part, image::imageops::crop_imm(&whole, 9, 3, 20, 11).to_image());
        }
    }
}
