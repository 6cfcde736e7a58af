//! Erases a rectangle of an image (Zhong et al. 2020, *Random Erasing Data Augmentation*), as torchvision's
//! `RandomErasing` does after `Normalize`.

use crate::pipeline::{ErasedValue, RandomErasing};
use crate::random::Stream;

/// The number of rectangles to try before the image is left unchanged, as in torchvision.
const TRIES: usize = 10;

/// The random values of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ErasedRectangle {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
    /// The stream of the fill values, row by row; `None` if the fill is zero.
    noise: Option<Stream>,
}

impl ErasedRectangle {
    /// Draws whether a square of `side` pixels is erased, then the rectangle. Area and position are uniform; the
    /// ratio of height to width is log-uniform.
    pub fn draw(settings: &RandomErasing, side: usize, mut stream: Stream) -> Option<Self> {
        if stream.uniform_f64() >= settings.probability {
            return None;
        }
        let area = (side * side) as f64;
        let [least, most] = settings.scale;
        let (flat, tall) = (libm::log(settings.ratio[0]), libm::log(settings.ratio[1]));
        for _ in 0..TRIES {
            let target = area * (least + (most - least) * stream.uniform_f64());
            let ratio = libm::exp(flat + (tall - flat) * stream.uniform_f64());
            let height = (target * ratio).sqrt().round_ties_even() as usize;
            let width = (target / ratio).sqrt().round_ties_even() as usize;
            if height < side && width < side {
                let top = stream.below((side - height + 1) as u32) as usize;
                let left = stream.below((side - width + 1) as u32) as usize;
                let noise = (settings.value == ErasedValue::Random).then_some(stream);
                return Some(Self { top, left, height, width, noise });
            }
        }
        None
    }

    /// Erases the rectangle in the normalised values of a square, channels last.
    pub fn apply(mut self, [side, channels]: [usize; 2], numbers: &mut [f32]) {
        for row in numbers.chunks_exact_mut(side * channels).skip(self.top).take(self.height) {
            for number in &mut row[self.left * channels..(self.left + self.width) * channels] {
                *number = self.noise.as_mut().map_or(0.0, |noise| noise.normal() as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn settings(value: ErasedValue) -> RandomErasing {
        RandomErasing { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], value }
    }

    fn draw(settings: &RandomErasing, sample: u64) -> Option<ErasedRectangle> {
        ErasedRectangle::draw(settings, 64, Stream::new(7, Purpose::Erase, 3, sample))
    }

    #[test]
    fn rectangles_keep_to_probability_scale_and_ratio() {
        let drawn: Vec<ErasedRectangle> =
            (0..2000).filter_map(|sample| draw(&settings(ErasedValue::Mean), sample)).collect();
        assert!(drawn.len().abs_diff(1000) < 100, "{}", drawn.len());
        for erased in &drawn {
            let (height, width) = (erased.height as f64, erased.width as f64);
            let (area, ratio) = (height * width / 4096.0, height / width);
            assert!((0.015..0.35).contains(&area) && (0.25..3.9).contains(&ratio), "{erased:?}");
            assert!(erased.top + erased.height <= 64 && erased.left + erased.width <= 64);
        }
        let mean = drawn.iter().map(|erased| erased.height * erased.width).sum::<usize>() as f64
            / drawn.len() as f64;
        assert!((mean / 4096.0 - 0.175).abs() < 0.01, "{mean}");
        let whole = RandomErasing { probability: 1.0, scale: [1.0, 1.0], ..settings(ErasedValue::Mean) };
        assert_eq!(draw(&whole, 0), None, "what leaves nothing of an image is not done");
    }

    #[test]
    fn what_is_erased_is_the_mean_or_noise_and_nothing_else_changes() {
        for value in [ErasedValue::Mean, ErasedValue::Random] {
            let settings = RandomErasing { probability: 1.0, ..settings(value) };
            let erased = draw(&settings, 5).unwrap();
            let mut numbers = vec![9.0f32; 64 * 64 * 3];
            erased.clone().apply([64, 3], &mut numbers);
            let changed: Vec<f32> = numbers.iter().copied().filter(|&number| number != 9.0).collect();
            assert_eq!(changed.len(), erased.height * erased.width * 3);
            let mean = changed.iter().sum::<f32>() / changed.len() as f32;
            let square = changed.iter().map(|number| number * number).sum::<f32>() / changed.len() as f32;
            match value {
                ErasedValue::Mean => assert_eq!(square, 0.0),
                ErasedValue::Random => assert!(mean.abs() < 0.1 && (square - 1.0).abs() < 0.15),
            }
        }
    }
}
