//! Normalises pixels.

use image::RgbImage;

use crate::data::Region;
use crate::data::image::{Image, Raster, visible_bytes};

/// The channel statistics of a transform.
#[derive(Clone, Debug)]
pub(super) struct Normalizer {
    /// Mean and standard deviation of each channel.
    statistics: Vec<(f32, f32)>,
    /// For RGB8: `(value / 255 − mean) / std` for every byte value, per channel.
    bytes: [[f32; 256]; 3],
}

impl Normalizer {
    pub fn new(statistics: &[(f64, f64)]) -> Self {
        let statistics: Vec<(f32, f32)> =
            statistics.iter().map(|(mean, std)| (*mean as f32, *std as f32)).collect();
        // Three f32 operations in torchvision's order: `ToTensor` divides by 255, `Normalize` subtracts, then divides.
        let channel = |channel: usize| {
            let (mean, std) = statistics.get(channel).copied().unwrap_or((0.0, 1.0));
            std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
        };
        Self { bytes: std::array::from_fn(channel), statistics }
    }

    pub fn channels(&self) -> usize {
        self.statistics.len()
    }

    /// Normalises an image.
    pub fn image(&self, image: &Image, out: &mut [f32]) {
        match image {
            Image::Rgb8(image) => self.rgb8(image, (false, false), out),
            Image::Other(raster) => self.raster(raster, out),
        }
    }

    /// Normalises pixels of any depth, with as many channels as there are statistics.
    pub fn raster(&self, raster: &Raster, out: &mut [f32]) {
        let values = raster.floats(Region::whole((raster.width, raster.height)));
        let pixels = values.chunks_exact(self.channels()).zip(out.chunks_exact_mut(self.channels()));
        for (values, out) in pixels {
            for ((out, value), (mean, std)) in out.iter_mut().zip(values).zip(&self.statistics) {
                *out = (value - mean) / std;
            }
        }
    }

    /// Undoes the normalisation for a picture in RGB8: the first three channels, or grey.
    pub fn picture(&self, numbers: &[f32]) -> Vec<u8> {
        let statistics = self.statistics.iter().cycle();
        let values = numbers.iter().zip(statistics).map(|(number, (mean, std))| number * std + mean);
        visible_bytes(&values.collect::<Vec<f32>>(), self.channels())
    }

    /// Normalises an image. It is flipped horizontally or vertically by the order in which it is written.
    pub fn rgb8(&self, image: &RgbImage, (across, down): (bool, bool), out: &mut [f32]) {
        let [red, green, blue] = &self.bytes;
        let (length, height) = (image.width() as usize * 3, image.height() as usize);
        let pixels = image.as_raw();
        let numbers = |out: &mut [f32], pixel: &[u8]| {
            out[0] = red[usize::from(pixel[0])];
            out[1] = green[usize::from(pixel[1])];
            out[2] = blue[usize::from(pixel[2])];
        };
        for (y, out) in out.chunks_exact_mut(length).enumerate() {
            let y = if down { height - 1 - y } else { y };
            let row = pixels[y * length..][..length].chunks_exact(3);
            let places = out.chunks_exact_mut(3);
            if across {
                places.rev().zip(row).for_each(|(out, pixel)| numbers(out, pixel));
            } else {
                places.zip(row).for_each(|(out, pixel)| numbers(out, pixel));
            }
        }
    }
}
