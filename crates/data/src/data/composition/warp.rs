//! Bilinear warping of an image by an affine map.
//!
//! The value of a result pixel is that of its centre, mapped back into the source and interpolated between the four
//! nearest source pixels. Pixels outside the source have the padding value. OpenCV's `warpAffine` computes the same
//! with weights rounded to 1/32.

use crate::data::geometry::{AffineMap, inverse};

/// The sample of a pixel.
pub trait WarpSample: Copy {
    fn to_float(self) -> f32;
    /// Rounds half up where samples are integers.
    fn of_float(value: f32) -> Self;
}

impl WarpSample for u8 {
    fn to_float(self) -> f32 {
        f32::from(self)
    }

    fn of_float(value: f32) -> Self {
        (value + 0.5) as u8
    }
}

impl WarpSample for f32 {
    fn to_float(self) -> f32 {
        self
    }

    fn of_float(value: f32) -> Self {
        value
    }
}

/// Rows of samples with interleaved channels.
#[derive(Clone, Copy)]
pub struct Samples<'a, T> {
    pub size: (u32, u32),
    pub channels: usize,
    pub values: &'a [T],
}

/// Warps an image to a square. `map` is from the source to the result, in pixels from the top left corner.
pub fn warp<T: WarpSample>(source: Samples<T>, map: AffineMap, side: u32, pad: T) -> Vec<T> {
    // A constant number of channels makes the inner loops fast.
    match source.channels {
        3 => warp_channels(source, 3, map, side, pad),
        channels => warp_channels(source, channels, map, side, pad),
    }
}

#[inline(always)]
fn warp_channels<T: WarpSample>(
    source: Samples<T>,
    channels: usize,
    map: AffineMap,
    side: u32,
    pad: T,
) -> Vec<T> {
    let (width, height) = (source.size.0 as usize, source.size.1 as usize);
    let line = width * channels;
    let [[a, b, c], [d, e, f]] = inverse(map);
    let side = side as usize;
    let mut out = vec![pad; side * side * channels];
    for (y, row) in out.chunks_exact_mut(side * channels).enumerate() {
        let middle = y as f64 + 0.5;
        // One more than the place between pixel centres, so that truncation rounds down.
        let (start_x, start_y) = (b * middle + c + 0.5, e * middle + f + 0.5);
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let middle = x as f64 + 0.5;
            let (place_x, place_y) = (a * middle + start_x, d * middle + start_y);
            // False for what is not a number, too.
            if !(place_x >= 0.0 && place_y >= 0.0) {
                continue;
            }
            let (right, below) = (place_x as usize, place_y as usize);
            if right > width || below > height {
                continue;
            }
            let (share_x, share_y) = ((place_x - right as f64) as f32, (place_y - below as f64) as f32);
            let blend = |values: [f32; 4]| {
                let above = values[0] + share_x * (values[1] - values[0]);
                let under = values[2] + share_x * (values[3] - values[2]);
                T::of_float(above + share_y * (under - above))
            };
            if (1..width).contains(&right) && (1..height).contains(&below) {
                let first = (below - 1) * line + (right - 1) * channels;
                let above = &source.values[first..][..2 * channels];
                let under = &source.values[first + line..][..2 * channels];
                for channel in 0..channels {
                    pixel[channel] = blend([
                        above[channel].to_float(),
                        above[channels + channel].to_float(),
                        under[channel].to_float(),
                        under[channels + channel].to_float(),
                    ]);
                }
            } else {
                for (channel, out) in pixel.iter_mut().enumerate() {
                    // The place is one more than that of the pixel.
                    let value =
                        |x: usize, y: usize| match (1..=width).contains(&x) && (1..=height).contains(&y) {
                            true => source.values[(y - 1) * line + (x - 1) * channels + channel].to_float(),
                            false => pad.to_float(),
                        };
                    *out = blend([
                        value(right, below),
                        value(right + 1, below),
                        value(right, below + 1),
                        value(right + 1, below + 1),
                    ]);
                }
            }
        }
    }
    out
}
