//! From stored samples to the values that a network sees: a declared range, and log-chromaticity.
//!
//! Log-chromaticity is c_k = ln x_k − (ln R + ln G + ln B) / 3 of linear light x (Finlayson, Drew, Lu, *Entropy
//! Minimization for Shadow Removal*, IJCV 2009, section 2): exposure and the shading of a single light cancel. It is
//! mapped to (c + 2) / 4 and clipped to [0, 1]; a channel is clipped where it is more than e² ≈ 7.4 times the geometric
//! mean, or less than its inverse.
//!
//! Logarithms are those of the crate `libm`, which have the same bits on every machine.

use std::sync::{Arc, OnceLock};

use super::{Image, PixelData, Raster};
use crate::pipeline::{Color, Encoding, LogChromaticity};

/// How stored samples become floats.
#[derive(Clone, Debug)]
pub struct StoredPixels {
    range: Option<[f64; 2]>,
    channels: usize,
    log: Option<LogChromaticity>,
    tables: Arc<Tables>,
}

/// The result for each stored number. Those of 16 bits are computed when an image needs them.
#[derive(Debug, Default)]
struct Tables {
    bytes: OnceLock<Vec<f64>>,
    wide: OnceLock<Vec<f64>>,
}

impl StoredPixels {
    pub fn new(range: Option<[f64; 2]>, channels: usize, color: Color) -> Self {
        let log = match color {
            Color::Srgb => None,
            Color::LogChromaticity(settings) => Some(settings),
        };
        Self { range, channels, log, tables: Arc::default() }
    }

    /// Whether values are colours without brightness, whose neutral value is ½ and not 0.
    pub fn is_chromaticity(&self) -> bool {
        self.log.is_some()
    }

    /// The values of an image, and how many of them were clipped.
    ///
    /// # Errors
    /// Another number of channels, or a range that its samples cannot have.
    pub fn values(&self, image: Image) -> Result<(Raster, usize), String> {
        let Raster { width, height, channels: found, samples } = image.into_raster();
        // Grey is shown as three equal channels, as for 8-bit images.
        let repeats = if found == 1 && self.channels == 3 && self.log.is_none() { 3 } else { 1 };
        if found * repeats != self.channels {
            let channels = if found == 1 { "channel" } else { "channels" };
            return Err(format!("it has {found} {channels}, and {} are expected", self.channels));
        }
        let mut values: Vec<f32> = Vec::with_capacity(samples.len() * repeats);
        let clipped = match samples {
            PixelData::U8(samples) => {
                let table = self.table(255, &self.tables.bytes)?;
                self.write(samples.into_iter().map(|sample| table[usize::from(sample)]), repeats, &mut values)
            }
            PixelData::U16(samples) => {
                let table = self.table(65535, &self.tables.wide)?;
                self.write(samples.into_iter().map(|sample| table[usize::from(sample)]), repeats, &mut values)
            }
            PixelData::F32(samples) => {
                let range = self.range.unwrap_or([0.0, 1.0]);
                let value = |sample: f32| self.value(f64::from(sample), range);
                self.write(samples.into_iter().map(value), repeats, &mut values)
            }
        };
        let samples = PixelData::F32(values);
        Ok((Raster { width, height, channels: self.channels, samples }, clipped))
    }

    fn table<'t>(&self, largest: u32, place: &'t OnceLock<Vec<f64>>) -> Result<&'t [f64], String> {
        let range = self.range.unwrap_or([0.0, f64::from(largest)]);
        if let [low, high] = range
            && !(low >= 0.0 && high <= f64::from(largest))
        {
            let bits = u32::BITS - largest.leading_zeros();
            return Err(format!(
                "its values have {bits} bits, 0 to {largest}, and `range` is [{low}, {high}]"
            ));
        }
        Ok(place.get_or_init(|| (0..=largest).map(|sample| self.value(f64::from(sample), range)).collect()))
    }

    /// The value in the range; of log-chromaticity, the logarithm of its light.
    fn value(&self, sample: f64, [low, high]: [f64; 2]) -> f64 {
        let value = (sample - low) / (high - low);
        self.log
            .as_ref()
            .map_or(value, |settings| libm::log(linear(value, settings.from).max(settings.floor)))
    }

    /// Writes pixels, and returns the number of clipped values.
    fn write(&self, values: impl Iterator<Item = f64>, repeats: usize, out: &mut Vec<f32>) -> usize {
        if self.log.is_none() {
            values.for_each(|value| out.extend(std::iter::repeat_n(value as f32, repeats)));
            return 0;
        }
        let (mut values, mut clipped) = (values, 0);
        while let (Some(red), Some(green), Some(blue)) = (values.next(), values.next(), values.next()) {
            let mean = (red + green + blue) / 3.0;
            for logarithm in [red, green, blue] {
                let value = (logarithm - mean + 2.0) / 4.0;
                clipped += usize::from(!(0.0..=1.0).contains(&value));
                out.push(value.clamp(0.0, 1.0) as f32);
            }
        }
        clipped
    }
}

/// The light of an encoded value (IEC 61966-2-1 for sRGB).
fn linear(value: f64, encoding: Encoding) -> f64 {
    match encoding {
        Encoding::Linear => value,
        Encoding::Srgb if value < 0.04045 => value / 12.92,
        Encoding::Srgb => libm::pow((value + 0.055) / 1.055, 2.4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(channels: usize, samples: PixelData) -> Image {
        Image::Other(Raster { width: 2, height: 1, channels, samples })
    }

    fn floats((raster, clipped): (Raster, usize)) -> (Vec<f32>, usize) {
        let PixelData::F32(values) = raster.samples else { panic!("values are floats") };
        (values, clipped)
    }

    #[test]
    fn a_range_is_mapped_to_zero_and_one() {
        let pixels = |range| StoredPixels::new(Some(range), 1, Color::Srgb);
        let wide = || raster(1, PixelData::U16(vec![1000, 4095]));
        assert_eq!(floats(pixels([1000.0, 4095.0]).values(wide()).unwrap()), (vec![0.0, 1.0], 0));
        assert_eq!(floats(pixels([0.0, 2000.0]).values(wide()).unwrap()).0, [0.5, 2.0475]);
        let float = raster(1, PixelData::F32(vec![-1.0, 3.0]));
        assert_eq!(floats(pixels([-1.0, 1.0]).values(float).unwrap()).0, [0.0, 2.0]);
        let byte = raster(1, PixelData::U8(vec![0, 255]));
        assert_eq!(
            pixels([0.0, 4095.0]).values(byte).unwrap_err(),
            "its values have 8 bits, 0 to 255, and `range` is [0, 4095]"
        );
    }

    #[test]
    fn grey_is_repeated_and_other_channels_are_refused() {
        let pixels = StoredPixels::new(None, 3, Color::Srgb);
        let grey = || raster(1, PixelData::U8(vec![0, 255]));
        assert_eq!(floats(pixels.values(grey()).unwrap()).0, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let two = raster(2, PixelData::U8(vec![0; 4]));
        assert_eq!(pixels.values(two).unwrap_err(), "it has 2 channels, and 3 are expected");
        let color = Color::LogChromaticity(LogChromaticity::default());
        let refused = StoredPixels::new(None, 3, color).values(grey()).unwrap_err();
        assert_eq!(refused, "it has 1 channel, and 3 are expected");
    }

    #[test]
    fn exposure_cancels_and_what_is_far_from_grey_is_clipped_and_counted() {
        let settings = LogChromaticity { from: Encoding::Linear, floor: 1.0 / 1024.0 };
        let pixels = StoredPixels::new(None, 3, Color::LogChromaticity(settings));
        let values =
            |samples: [f32; 6]| floats(pixels.values(raster(3, PixelData::F32(samples.to_vec()))).unwrap());
        let (plain, clipped) = values([0.8, 0.4, 0.2, 0.4, 0.2, 0.1]);
        assert_eq!(clipped, 0);
        let ln2 = std::f64::consts::LN_2;
        for (value, expected) in plain.iter().zip([ln2, 0.0, -ln2, ln2, 0.0, -ln2]) {
            assert!((f64::from(*value) - (expected + 2.0) / 4.0).abs() < 1e-6);
        }
        // Black is grey: all channels are at the floor. A pure colour is clipped in one channel.
        let (far, clipped) = values([0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(far[..4], [0.5, 0.5, 0.5, 1.0]);
        assert_eq!(clipped, 3, "−6.9 / 3 is beyond −2 as well");
    }
}
