//! Bilinear resizing with antialias, bit for bit as Pillow's `Image.resize(size, BILINEAR)`.
//!
//! Pillow makes two passes, each a weighted sum in 22-bit fixed point that is rounded to 8 bits; the weights come from
//! a triangle filter that is stretched when shrinking. Integers all the way, so the result is the same on every
//! machine. Rows go first, but since Pillow 13 columns do where the height shrinks by more than twice as many pixels as
//! the width (images kept in proportion are not affected; elsewhere earlier versions differ by 1 in some samples).

use std::ops::Range;

use image::RgbImage;

/// Pillow leaves two bits of an `i32` for sums slightly out of range.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);
const CHANNELS: usize = 3;

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
        Self { left: 0, top: 0, width: image.width(), height: image.height() }
    }
}

/// Resizes a part of an image as if it had been cut out first: pixels around the region have no influence.
///
/// The region must lie inside the image; `width`, `height` and both sides of the region must be at least 1.
pub fn resize(image: &RgbImage, region: Region, width: u32, height: u32) -> RgbImage {
    resize_window(image, region, (width, height), Region { left: 0, top: 0, width, height })
}

/// A window of what [`resize`] would make: the same pixels, without the work for those around them.
///
/// The window must lie inside the resized image and have a pixel at least.
pub fn resize_window(image: &RgbImage, region: Region, size: (u32, u32), window: Region) -> RgbImage {
    let across = Filter::new(region.width, size.0, window.left..window.left + window.width);
    let down = Filter::new(region.height, size.1, window.top..window.top + window.height);
    let stride = image.width() as usize * CHANNELS;
    let first_row = region.top as usize + down.first;
    let first_column = region.left as usize + across.first;
    let source = Plane {
        samples: &image.as_raw()[first_row * stride + first_column * CHANNELS..],
        stride,
        width: across.reach,
        height: down.reach,
    };
    let shrink = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let rows_lost = shrink(region.height, size.1);
    let samples = if rows_lost > 0 && rows_lost > 2 * shrink(region.width, size.0) {
        Plane::tight(&source.columns(&down), source.width, down.taps.len()).rows(&across)
    } else {
        Plane::tight(&source.rows(&across), across.taps.len(), source.height).columns(&down)
    };
    RgbImage::from_raw(window.width, window.height, samples).expect("the buffer was made for this size")
}

/// Interleaved samples whose rows lie `stride` samples apart.
struct Plane<'a> {
    samples: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Plane<'a> {
    fn tight(samples: &'a [u8], width: usize, height: usize) -> Self {
        Self { samples, stride: width * CHANNELS, width, height }
    }

    /// Every row filtered to another width.
    fn rows(&self, filter: &Filter) -> Vec<u8> {
        let mut filtered = vec![0; filter.taps.len() * CHANNELS * self.height];
        for (y, row) in filtered.chunks_exact_mut(filter.taps.len() * CHANNELS).enumerate() {
            let samples = &self.samples[y * self.stride..][..self.width * CHANNELS];
            for ((start, weights), out) in filter.taps.iter().zip(row.chunks_exact_mut(CHANNELS)) {
                let mut sums = [HALF; CHANNELS];
                for (pixel, weight) in samples[start * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(value) * weight;
                    }
                }
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = to_byte(sum));
            }
        }
        filtered
    }

    /// Every column filtered to another height, a whole row of columns at a time.
    fn columns(&self, filter: &Filter) -> Vec<u8> {
        let length = self.width * CHANNELS;
        let mut filtered = vec![0; length * filter.taps.len()];
        let mut sums = vec![0; length];
        for ((start, weights), row) in filter.taps.iter().zip(filtered.chunks_exact_mut(length)) {
            sums.fill(HALF);
            for (tap, &weight) in weights.iter().enumerate() {
                let samples = &self.samples[(start + tap) * self.stride..][..length];
                for (sum, &value) in sums.iter_mut().zip(samples) {
                    *sum += i32::from(value) * weight;
                }
            }
            row.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = to_byte(sum));
        }
        filtered
    }
}

/// The weights of one axis for some of its output positions.
struct Filter {
    /// The first input position that any weight falls on, and how many from there on.
    first: usize,
    reach: usize,
    /// Per output position, where its weights start, counted from `first`, and the weights.
    taps: Vec<(usize, Vec<i32>)>,
}

impl Filter {
    fn new(input: u32, output: u32, positions: Range<u32>) -> Self {
        let scale = f64::from(input) / f64::from(output);
        // The triangle reaches one input pixel either way, more when shrinking: that is the antialias.
        let support = scale.max(1.0);
        let inverse = 1.0 / support;
        let mut taps: Vec<(usize, Vec<i32>)> = positions
            .map(|position| {
                let center = (f64::from(position) + 0.5) * scale;
                // Casts truncate, and stop at zero.
                let start = (center - support + 0.5) as u32;
                let end = ((center + support + 0.5) as u32).min(input);
                let triangle = |tap| (1.0 - ((f64::from(tap) - center + 0.5) * inverse).abs()).max(0.0);
                let weights: Vec<f64> = (start..end).map(triangle).collect();
                let total: f64 = weights.iter().sum();
                let fixed = |weight: f64| (0.5 + weight / total * f64::from(1 << PRECISION_BITS)) as i32;
                (start as usize, weights.into_iter().map(fixed).collect())
            })
            .collect();
        let first = taps.first().map_or(0, |(start, _)| *start);
        let end = taps.last().map_or(0, |(start, weights)| start + weights.len());
        taps.iter_mut().for_each(|(start, _)| *start -= first);
        Self { first, reach: end - first, taps }
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
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

    #[test]
    fn a_window_is_cut_from_the_whole() {
        let source = Fixtures::open("resized.safetensors").image("53x37");
        for (width, height) in [(30, 21), (70, 60), (60, 15)] {
            let whole = resize(&source, Region::of(&source), width, height);
            let window = Region { left: 9, top: 3, width: 20, height: 11 };
            let part = resize_window(&source, Region::of(&source), (width, height), window);
            assert_eq!(part, image::imageops::crop_imm(&whole, 9, 3, 20, 11).to_image());
        }
    }
}
