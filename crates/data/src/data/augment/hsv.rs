//! Random changes in HSV, with OpenCV's 8-bit conversions: hue from 0 to 179, saturation and value from 0 to 255.

use image::RgbImage;

use super::photometric_float;
use crate::data::image::{PixelData, Raster};
use crate::pipeline::Hsv;
use crate::random::Stream;

/// The random values of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HsvChange {
    /// Steps of the hue; 180 is the whole circle.
    hue: f64,
    saturation: f64,
    value: f64,
}

impl HsvChange {
    pub fn draw(settings: &Hsv, stream: &mut Stream) -> Self {
        let mut draw = |most: f64| (2.0 * stream.uniform_f64() - 1.0) * most;
        let (hue, saturation, value) = (draw(settings.hue), draw(settings.saturation), draw(settings.value));
        Self { hue: hue * 180.0, saturation: 1.0 + saturation, value: 1.0 + value }
    }

    /// Shifts and scales the bytes of HSV; the results are truncated.
    pub fn apply(&self, image: &mut RgbImage) {
        let hues: [u8; 256] = std::array::from_fn(|hue| (hue as f64 + self.hue).rem_euclid(180.0) as u8);
        let scaled = |factor: f64| std::array::from_fn(|value| (value as f64 * factor) as u8);
        let (saturations, values): ([u8; 256], [u8; 256]) = (scaled(self.saturation), scaled(self.value));
        let tables = Tables::new();
        for pixel in image.pixels_mut() {
            let [hue, saturation, value] = tables.to_hsv(pixel.0);
            let (hue, saturation) = (hues[usize::from(hue)], saturations[usize::from(saturation)]);
            pixel.0 = to_rgb([hue, saturation, values[usize::from(value)]]);
        }
    }

    /// As [`HsvChange::apply`], for pixels of any depth and number of channels, without rounding. Without a change of
    /// hue and saturation, the value scales all channels; only RGB images have the other two.
    pub fn apply_to_raster(&self, raster: Raster) -> Raster {
        let Raster { width, height, channels, .. } = raster;
        let mut samples = raster.into_floats();
        let value = self.value as f32;
        if channels == 3 && (self.hue, self.saturation) != (0.0, 1.0) {
            let (turn, saturation) = ((self.hue / 180.0) as f32, self.saturation as f32);
            samples
                .as_chunks_mut()
                .0
                .iter_mut()
                .for_each(|pixel| *pixel = photometric_float::hsv(*pixel, turn, saturation, value));
        } else {
            samples.iter_mut().for_each(|sample| *sample *= value);
        }
        Raster { width, height, channels, samples: PixelData::F32(samples) }
    }
}

/// Reciprocals in 12-bit fixed point.
struct Tables {
    saturation: [i32; 256],
    hue: [i32; 256],
}

impl Tables {
    fn new() -> Self {
        let reciprocals = |full: f64| {
            std::array::from_fn(|length| match length {
                0 => 0,
                _ => (full * 4096.0 / length as f64).round_ties_even() as i32,
            })
        };
        Self { saturation: reciprocals(255.0), hue: reciprocals(180.0 / 6.0) }
    }

    fn to_hsv(&self, pixel: [u8; 3]) -> [u8; 3] {
        let [red, green, blue] = pixel.map(i32::from);
        let most = red.max(green).max(blue);
        let range = most - red.min(green).min(blue);
        let saturation = (range * self.saturation[most as usize] + 2048) >> 12;
        let sector = if most == red {
            green - blue
        } else if most == green {
            blue - red + 2 * range
        } else {
            red - green + 4 * range
        };
        let hue = (sector * self.hue[range as usize] + 2048) >> 12;
        let hue = if hue < 0 { hue + 180 } else { hue };
        [hue as u8, saturation as u8, most as u8]
    }
}

/// Bit for bit OpenCV's vectorised code: products are fused with the subtraction, and results are truncated. (OpenCV
/// rounds the last pixels of rows that its vectors do not fill.)
fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let hue = f32::from(hue) * (6.0 / 180.0);
    let saturation = f32::from(saturation) * (1.0 / 255.0);
    let value = f32::from(value) * (1.0 / 255.0);
    let sector = hue as u8;
    let within = hue - f32::from(sector);
    // The product of two floats is exact in double precision.
    let rest = |factor: f32| (1.0 - f64::from(saturation) * f64::from(factor)) as f32;
    let levels = [value, value * (1.0 - saturation), value * rest(within), value * rest(1.0 - within)];
    let [red, green, blue] = match sector % 6 {
        0 => [0, 3, 1],
        1 => [2, 0, 1],
        2 => [1, 0, 3],
        3 => [1, 2, 0],
        4 => [3, 1, 0],
        _ => [0, 1, 2],
    };
    [red, green, blue].map(|level: usize| (levels[level] * 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::Fixtures;

    #[test]
    fn colours_are_bit_exact_with_opencv() {
        let fixture = Fixtures::open("mosaic.safetensors");
        for number in 0..3 {
            let draw: Vec<f64> = fixture.doubles(&format!("hsv.draw.{number}"));
            let change = HsvChange { hue: draw[0] * 180.0, saturation: 1.0 + draw[1], value: 1.0 + draw[2] };
            let mut image = fixture.image("hsv.source");
            change.apply(&mut image);
            assert!(image == fixture.image(&format!("hsv.{number}")), "{number} differs");
        }
    }

    #[test]
    fn every_colour_is_converted_and_back_within_rounding() {
        let tables = Tables::new();
        for red in (0..=255u8).step_by(15) {
            for green in (0..=255u8).step_by(17) {
                for blue in (0..=255u8).step_by(5) {
                    let [hue, saturation, value] = tables.to_hsv([red, green, blue]);
                    assert!(hue < 180);
                    let back = to_rgb([hue, saturation, value]);
                    let worst = back.iter().zip([red, green, blue]).map(|(a, b)| a.abs_diff(b)).max();
                    assert!(worst <= Some(6), "{red} {green} {blue}: {back:?}");
                }
            }
        }
        // A turn that is rounded to a whole circle.
        assert_eq!(to_rgb([180, 255, 255]), [255, 0, 0]);
    }

    #[test]
    fn the_value_of_floats_is_scaled_at_any_number_of_channels() {
        let samples = PixelData::U16(vec![0, 65535, 13107, 26214]);
        let raster = Raster { width: 2, height: 1, channels: 2, samples };
        let scaled = HsvChange { hue: 0.0, saturation: 1.0, value: 1.25 }.apply_to_raster(raster);
        assert_eq!(scaled.samples, PixelData::F32(vec![0.0, 1.25, 0.25, 0.5]));
    }

    #[test]
    fn colours_of_floats_are_those_of_bytes_up_to_rounding() {
        let image = Fixtures::open("mosaic.safetensors").image("hsv.source");
        let (width, height) = image.dimensions();
        for (hue, saturation, value) in [(2.7, 0.6, 0.8), (-130.0, 1.9, 0.9), (90.0, 0.0, 1.4)] {
            let change = HsvChange { hue, saturation, value };
            let samples =
                PixelData::F32(image.as_raw().iter().map(|&byte| f32::from(byte) / 255.0).collect());
            let floats = change.apply_to_raster(Raster { width, height, channels: 3, samples });
            let PixelData::F32(floats) = floats.samples else { panic!("floats") };
            let mut bytes = image.clone();
            change.apply(&mut bytes);
            // Bytes have 180 hues and are truncated three times; floats have no largest value.
            let differences = floats.iter().zip(bytes.as_raw());
            let mean = differences
                .map(|(float, &byte)| (float.min(1.0) * 255.0 - f32::from(byte)).abs())
                .sum::<f32>()
                / floats.len() as f32;
            assert!(mean < 4.0, "{hue} {saturation} {value}: {mean}");
        }
        // Black and values below black have no hue.
        let samples = PixelData::F32(vec![0.0, 0.0, 0.0, -0.5, -0.25, -0.5]);
        let dark = Raster { width: 2, height: 1, channels: 3, samples };
        let changed = HsvChange { hue: 60.0, saturation: 2.0, value: 2.0 }.apply_to_raster(dark);
        assert_eq!(changed.samples, PixelData::F32(vec![0.0, 0.0, 0.0, -1.0, -0.5, -1.0]));
    }
}
