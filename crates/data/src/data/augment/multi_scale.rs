//! Trains at several image sizes: each batch is resized to a size of its own, bilinearly, as PyTorch's `interpolate`
//! does without antialiasing.
//!
//! Boxes are fractions of the image and stay as they are.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::Result;
use crate::ops::float::with_slice;
use crate::pipeline::Augment;
use crate::random::{Purpose, Stream};

/// Sizes are multiples of this, the largest stride of detectors.
const STRIDE: usize = 32;

/// Resizes the batches of a train stage.
#[derive(Clone, Debug)]
pub struct BatchResizer {
    /// The largest relative change.
    most: f64,
    seed: u64,
}

impl BatchResizer {
    /// `None` if all batches have the same size.
    pub fn new(augment: &Augment, seed: u64) -> Option<Self> {
        (augment.multi_scale > 0.0).then_some(Self { most: augment.multi_scale, seed })
    }

    /// The sizes in pixels that a batch of images of this size can have, ascending.
    pub fn sizes(side: usize, most: f64) -> Vec<usize> {
        let (least, most) = (side as f64 * (1.0 - most), side as f64 * (1.0 + most));
        let all = (1..).map(|number| number * STRIDE).take_while(|size| *size as f64 <= most);
        all.filter(|size| *size as f64 >= least).collect()
    }

    /// The size of a batch, which depends on nothing but seed, epoch and position of the batch in the epoch.
    pub fn size(&self, side: usize, epoch: u32, batch: usize) -> usize {
        let sizes = Self::sizes(side, self.most);
        let mut stream = Stream::new(self.seed, Purpose::BatchSize, epoch, batch as u64);
        match u32::try_from(sizes.len()) {
            Ok(count) if count > 0 => sizes[stream.below(count) as usize],
            _ => side,
        }
    }

    /// A batch [N, side, side, channels] in the size of this position in the epoch.
    pub fn resize(&self, images: &Tensor, epoch: u32, batch: usize) -> Result<Tensor> {
        let (count, side, _, channels) = images.dims4()?;
        let size = self.size(side, epoch, batch);
        if size == side {
            return Ok(images.clone());
        }
        let resized = with_slice(images, |numbers: &[f32]| {
            let mut resized = vec![0.0f32; count * size * size * channels];
            let axis: Vec<Neighbours> = (0..size).map(|place| Neighbours::of(place, side, size)).collect();
            let rows = resized.par_chunks_exact_mut(size * channels).enumerate();
            rows.for_each(|(row, out)| {
                let image = &numbers[row / size * side * side * channels..][..side * side * channels];
                let Neighbours { first, second, share } = axis[row % size];
                let line = |y: usize| &image[y * side * channels..][..side * channels];
                blend_row((line(first), line(second), share), &axis, channels, out);
            });
            resized
        })?;
        Ok(Tensor::from_vec(resized, (count, size, size, channels), images.device())?)
    }
}

/// The two source places of a result place, and the weight of the second.
#[derive(Clone, Copy)]
struct Neighbours {
    first: usize,
    second: usize,
    share: f32,
}

impl Neighbours {
    fn of(place: usize, from: usize, to: usize) -> Self {
        let scale = from as f32 / to as f32;
        let middle = (scale * (place as f32 + 0.5) - 0.5).max(0.0);
        let first = (middle as usize).min(from - 1);
        Self { first, second: (first + 1).min(from - 1), share: (middle - first as f32).clamp(0.0, 1.0) }
    }
}

fn blend_row(
    (above, below, down): (&[f32], &[f32], f32),
    axis: &[Neighbours],
    channels: usize,
    out: &mut [f32],
) {
    for (pixel, Neighbours { first, second, share }) in out.chunks_exact_mut(channels).zip(axis) {
        for (channel, value) in pixel.iter_mut().enumerate() {
            let (left, right) = (first * channels + channel, second * channels + channel);
            let across = |row: &[f32]| (1.0 - share) * row[left] + share * row[right];
            *value = (1.0 - down) * across(above) + down * across(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::fixtures::Fixtures;

    fn resizer(multi_scale: f64) -> BatchResizer {
        BatchResizer::new(&Augment { multi_scale, ..Augment::default() }, 3).unwrap()
    }

    #[test]
    fn sizes_are_multiples_of_32_within_the_bounds_and_all_are_drawn() {
        assert_eq!(BatchResizer::sizes(640, 0.5).len(), 21);
        assert_eq!(BatchResizer::sizes(96, 0.5), [64, 96, 128]);
        assert!(BatchResizer::sizes(48, 0.1).is_empty());
        assert!(BatchResizer::new(&Augment::default(), 3).is_none());
        let resizer = resizer(0.5);
        let sizes: Vec<usize> = (0..60).map(|batch| resizer.size(96, 2, batch)).collect();
        for size in [64, 96, 128] {
            assert!(sizes.iter().filter(|drawn| **drawn == size).count().abs_diff(20) < 12, "{sizes:?}");
        }
        assert_ne!(sizes, (0..60).map(|batch| resizer.size(96, 3, batch)).collect::<Vec<_>>());
    }

    #[test]
    fn pixels_are_those_of_pytorch() {
        let fixture = Fixtures::open("mosaic.safetensors");
        let numbers = fixture.floats("multi_scale.images");
        let images = Tensor::from_vec(numbers, (2, 64, 64, 1), &Device::Cpu).unwrap();
        let mut compared = 0;
        for batch in 0..40 {
            let resized = resizer(0.5).resize(&images, 0, batch).unwrap();
            let side = resized.dim(1).unwrap();
            let name = format!("multi_scale.{side}");
            let Some(name) = fixture.names().into_iter().find(|known| *known == name) else { continue };
            let actual = resized.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let expected = fixture.floats(&name);
            assert_eq!(actual.len(), expected.len());
            let worst = actual.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
            assert!(worst < 2e-6, "{side}: {worst}");
            compared += 1;
        }
        assert!(compared > 20);
    }
}
