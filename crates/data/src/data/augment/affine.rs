//! Geometric changes: flips, and rotation, shear and translation by a matrix. Results equal those of torchvision on
//! PIL images with its defaults, bit for bit: nearest pixel, same size, black fill.

use image::{RgbImage, imageops};

use crate::data::geometry::{Geometry, GeometryChain, inverse};
use crate::data::image::Raster;

/// A geometric change. One description moves the pixels and maps coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AffineMove {
    FlipHorizontal,
    FlipVertical,
    /// Defined for one image size only.
    Affine(Affine),
}

/// Pixel (x, y) of the result is the source pixel at (a·x + b·y + c, d·x + e·y + f). Coordinates are those of pixel
/// centres. Equals Pillow's `transform` with `AFFINE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine([f64; 6]);

impl AffineMove {
    pub fn apply(&self, mut image: RgbImage) -> RgbImage {
        match self {
            Self::FlipHorizontal => imageops::flip_horizontal_in_place(&mut image),
            Self::FlipVertical => imageops::flip_vertical_in_place(&mut image),
            Self::Affine(affine) => return affine.apply(&image),
        }
        image
    }

    /// As `apply`, for pixels of any depth and number of channels.
    /// `background` is the value of floats that come from outside.
    pub fn apply_to_raster(&self, raster: &Raster, background: f32) -> Raster {
        let size @ (width, height) = (raster.width, raster.height);
        match self {
            Self::FlipHorizontal => raster.gathered(size, |x, y| Some((width - 1 - x, y))),
            Self::FlipVertical => raster.gathered(size, |x, y| Some((x, height - 1 - y))),
            Self::Affine(affine) => raster.gathered_on(background, size, affine.source(size)),
        }
    }

    /// Appends this change to `before`, which must not be empty.
    pub fn follow(&self, mut before: GeometryChain) -> GeometryChain {
        let Some(last) = before.0.last_mut() else { return before };
        let size @ (width, height) = last.output.into();
        match self {
            // A flip moves no pixel out of the image.
            Self::FlipHorizontal => {
                *last = last.then([[-1.0, 0.0, f64::from(width)], [0.0, 1.0, 0.0]], size);
            }
            Self::FlipVertical => {
                *last = last.then([[1.0, 0.0, 0.0], [0.0, -1.0, f64::from(height)]], size);
            }
            Self::Affine(Affine([a, b, c, d, e, f])) => {
                let map = inverse([[*a, *b, *c], [*d, *e, *f]]);
                before.0.push(Geometry::identity(size).then(map, size));
            }
        }
        before
    }
}

impl Affine {
    /// Turns an image about its centre, counter-clockwise: torchvision's `rotate`.
    pub fn rotation((width, height): (u32, u32), degrees: f64) -> Self {
        let radians = -degrees.rem_euclid(360.0).to_radians();
        // Pillow rounds to 15 decimals, so that right angles are exact.
        let rounded = |value: f64| (value * 1e15).round_ties_even() / 1e15;
        let (cosine, sine) = (rounded(libm::cos(radians)), rounded(libm::sin(radians)));
        let (center_x, center_y) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
        let shift_x = cosine * -center_x + sine * -center_y + center_x;
        let shift_y = -sine * -center_x + cosine * -center_y + center_y;
        Self([cosine, sine, shift_x, -sine, cosine, shift_y])
    }

    /// Shifts each line by `slope` times its distance from the top edge, to the left.
    pub fn shear_x(slope: f64) -> Self {
        Self([1.0, slope, 0.0, 0.0, 1.0, 0.0])
    }

    /// Shifts each column by `slope` times its distance from the left edge, upwards.
    pub fn shear_y(slope: f64) -> Self {
        Self([1.0, 0.0, 0.0, slope, 1.0, 0.0])
    }

    /// Moves an image by whole pixels to the right and down.
    pub fn translation(right: i32, down: i32) -> Self {
        Self([1.0, 0.0, f64::from(-right), 0.0, 1.0, f64::from(-down)])
    }

    pub fn apply(&self, image: &RgbImage) -> RgbImage {
        let source = self.source(image.dimensions());
        RgbImage::from_fn(image.width(), image.height(), |x, y| match source(x, y) {
            Some((x, y)) => *image.get_pixel(x, y),
            None => image::Rgb([0; 3]),
        })
    }

    /// The source pixel of each result pixel, in Pillow's 16.16 fixed point.
    fn source(&self, (width, height): (u32, u32)) -> impl Fn(u32, u32) -> Option<(u32, u32)> {
        let Self([a, b, c, d, e, f]) = *self;
        let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
        let (across_x, across_y) = (fixed(a), fixed(d));
        let (down_x, down_y) = (fixed(b), fixed(e));
        let start_x = fixed(c + a * 0.5 + b * 0.5);
        let start_y = fixed(f + d * 0.5 + e * 0.5);
        move |x, y| {
            let (x, y) = (i64::from(x), i64::from(y));
            let source_x = (start_x + x * across_x + y * down_x) >> 16;
            let source_y = (start_y + x * across_y + y * down_y) >> 16;
            let inside = |place: i64, size: u32| u32::try_from(place).ok().filter(|place| *place < size);
            inside(source_x, width).zip(inside(source_y, height))
        }
    }
}
