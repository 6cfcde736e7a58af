//! Random Gaussian blur, as in SimCLR (Chen et al. 2020, arXiv 2002.05709, appendix A), with torchvision's pixels.
//!
//! The kernel ends at three standard deviations. Edges are mirrored, without repeating the edge pixels.

use image::RgbImage;

use crate::data::image::{PixelData, Raster};
use crate::pipeline::GaussianBlur;
use crate::random::Stream;

/// The blur of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct BlurDraw {
    /// The weights of the pixels at distances 0, 1, … along an axis.
    weights: Vec<f32>,
}

impl BlurDraw {
    /// `None` if the image stays sharp. Draws the same number of values either way.
    pub fn draw(settings: &GaussianBlur, stream: &mut Stream) -> Option<Self> {
        let [least, most] = settings.sigma;
        let (chance, place) = (stream.uniform_f64(), stream.uniform_f64());
        (chance < settings.probability).then(|| Self::of(least + (most - least) * place))
    }

    /// With a standard deviation of `sigma` pixels.
    pub fn of(sigma: f64) -> Self {
        let reach = (3.0 * sigma).ceil().max(1.0) as usize;
        let weights: Vec<f64> = (0..=reach).map(|x| libm::exp(-0.5 * (x as f64 / sigma).powi(2))).collect();
        let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f64>();
        Self { weights: weights.iter().map(|weight| (weight / sum) as f32).collect() }
    }

    pub fn apply(&self, image: RgbImage) -> RgbImage {
        let (width, height) = image.dimensions();
        let floats: Vec<f32> = image.as_raw().iter().map(|byte| f32::from(*byte)).collect();
        let blurred = self.blurred(&floats, [width as usize, height as usize], 3);
        // The cast saturates; torchvision rounds ties to even too.
        let bytes = blurred.iter().map(|value| value.round_ties_even() as u8).collect();
        RgbImage::from_raw(width, height, bytes).unwrap_or(image)
    }

    /// As [`BlurDraw::apply`], for pixels of any depth and number of channels, without rounding.
    pub fn apply_to_raster(&self, raster: Raster) -> Raster {
        let Raster { width, height, channels, .. } = raster;
        let samples = self.blurred(&raster.into_floats(), [width as usize, height as usize], channels);
        Raster { width, height, channels, samples: PixelData::F32(samples) }
    }

    /// First along rows, then along columns.
    fn blurred(&self, samples: &[f32], [width, height]: [usize; 2], channels: usize) -> Vec<f32> {
        let row = width * channels;
        let mut along_rows = vec![0.0; samples.len()];
        for (source, target) in samples.chunks_exact(row).zip(along_rows.chunks_exact_mut(row)) {
            for (x, pixel) in target.chunks_exact_mut(channels).enumerate() {
                for (at, weight) in self.window(x, width) {
                    add(pixel, &source[at * channels..][..channels], weight);
                }
            }
        }
        let mut blurred = vec![0.0; samples.len()];
        for (y, target) in blurred.chunks_exact_mut(row).enumerate() {
            for (at, weight) in self.window(y, height) {
                add(target, &along_rows[at * row..][..row], weight);
            }
        }
        blurred
    }

    /// The positions around one of `length`, each with its weight, from the lowest.
    fn window(&self, centre: usize, length: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let reach = self.weights.len() as isize - 1;
        (-reach..=reach).map(move |offset| {
            (mirrored(centre as isize + offset, length), self.weights[offset.unsigned_abs()])
        })
    }
}

/// The position inside an image of this length where one outside is mirrored.
fn mirrored(position: isize, length: usize) -> usize {
    let last = length as isize - 1;
    if last == 0 {
        return 0;
    }
    let position = position.rem_euclid(2 * last);
    position.min(2 * last - position) as usize
}

fn add(target: &mut [f32], source: &[f32], weight: f32) {
    target.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::Fixtures;
    use crate::random::Purpose;

    #[test]
    fn pixels_are_within_one_step_of_torchvision() {
        let fixtures = Fixtures::open("recolored.safetensors");
        let mut compared = 0;
        for name in fixtures.names() {
            let Some(sigma) = name.strip_prefix("blur:") else { continue };
            let sigma: f64 = sigma.parse().unwrap();
            let found = BlurDraw::of(sigma).apply(fixtures.image("source"));
            let expected = fixtures.image(&name);
            let apart: Vec<u8> =
                found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
            assert!(apart.iter().all(|apart| *apart <= 1), "{name}");
            // Only rounding differs: the other program has one window of two dimensions.
            assert!(apart.iter().filter(|apart| **apart > 0).count() * 100 <= apart.len(), "{name}");
            compared += 1;
        }
        assert_eq!(compared, 4);
    }

    #[test]
    fn floats_are_blurred_as_bytes_are() {
        let image = Fixtures::open("recolored.safetensors").image("source");
        let (width, height) = image.dimensions();
        let samples = PixelData::F32(image.as_raw().iter().map(|byte| f32::from(*byte) / 255.0).collect());
        let blur = BlurDraw::of(1.3);
        let raster = blur.apply_to_raster(Raster { width, height, channels: 3, samples });
        let PixelData::F32(found) = raster.samples else { panic!("floats stay floats") };
        let expected = blur.apply(image);
        assert!(found.iter().zip(expected.as_raw()).all(|(a, b)| (a * 255.0 - f32::from(*b)).abs() <= 0.51));
    }

    #[test]
    fn edges_are_mirrored_at_any_distance() {
        let places: Vec<usize> = (-5..9).map(|place| mirrored(place, 4)).collect();
        assert_eq!(places, [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]);
        assert_eq!(mirrored(-7, 1), 0);
    }

    #[test]
    fn as_many_images_are_blurred_as_the_settings_say() {
        let settings = GaussianBlur { probability: 0.25, sigma: [0.1, 2.0] };
        let drawn = (0..2000).filter_map(|sample| {
            BlurDraw::draw(&settings, &mut Stream::new(3, Purpose::GaussianBlur, 0, sample))
        });
        let reaches: Vec<usize> = drawn.map(|draw| draw.weights.len()).collect();
        assert!(reaches.len().abs_diff(500) < 70, "{} of 2000", reaches.len());
        assert!(reaches.contains(&2) && reaches.contains(&7));
    }
}
