//! Mixes the images of a batch: mixup (Zhang et al. 2018, *mixup: Beyond Empirical Risk Minimization*) and CutMix
//! (Yun et al. 2019), on normalised values.
//!
//! Each image is mixed with the previous one in the batch, and the first with the last, as torchvision rolls a batch
//! by one. Each image has its own draws (timm's `elem` mode) from a separate stream, so no other image changes them.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::ops::float::with_slice;
use crate::pipeline::Augment;
use crate::random::{Purpose, Stream};

/// Mixes the batches of a train stage.
#[derive(Clone, Debug)]
pub struct BatchMixer {
    /// α and probability of mixup, and α of CutMix.
    mixup: Option<(f64, f64)>,
    cutmix: Option<f64>,
    seed: u64,
}

/// The random values of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MixDraw {
    /// The weight of the image itself in every value.
    Blend(f64),
    /// A box from the other image: top, left, bottom, right.
    Patch([usize; 4]),
}

impl BatchMixer {
    /// `None` if nothing is mixed.
    pub fn new(augment: &Augment, seed: u64) -> Option<Self> {
        let mixup = augment.mixup.as_ref().map(|mixup| (mixup.alpha, mixup.probability));
        let cutmix = augment.cutmix.as_ref().map(|cutmix| cutmix.alpha);
        (mixup.is_some() || cutmix.is_some()).then_some(Self { mixup, cutmix, seed })
    }

    /// The mixed images of a batch [N, side, side, 3], and the weight of each image itself. The previous image in the
    /// batch has the remaining weight. `streams` identify the random stream of each image.
    pub fn mix(&self, images: &Tensor, epoch: u32, streams: &[u64]) -> Result<(Tensor, Vec<f64>)> {
        let (count, side, _, channels) = images.dims4()?;
        if count != streams.len() {
            return Err(Error::bug(format!("{count} images with {} streams", streams.len())));
        }
        let drawn: Vec<MixDraw> = streams.iter().map(|&name| self.draw(side, epoch, name)).collect();
        let mixed = with_slice(images, |numbers: &[f32]| {
            let length = side * side * channels;
            let others = (0..count).map(|place| &numbers[(place + count - 1) % count * length..][..length]);
            let mut mixed = numbers.to_vec();
            for ((mixing, own), other) in drawn.iter().zip(mixed.chunks_exact_mut(length)).zip(others) {
                mixing.apply(own, other, side * channels, channels);
            }
            mixed
        })?;
        let shares = drawn.iter().map(|mixing| mixing.share(side)).collect();
        Ok((Tensor::from_vec(mixed, images.shape(), images.device())?, shares))
    }

    /// Draws mixup or CutMix, each with probability ½ if both are set; then the strength.
    fn draw(&self, side: usize, epoch: u32, name: u64) -> MixDraw {
        let mut stream = Stream::new(self.seed, Purpose::Mix, epoch, name);
        let blend = stream.below(2) == 0;
        match (self.mixup, self.cutmix) {
            (Some((alpha, probability)), cutmix) if blend || cutmix.is_none() => {
                let share = stream.beta(alpha);
                MixDraw::Blend(if stream.uniform_f64() < probability { share } else { 1.0 })
            }
            (_, Some(alpha)) => MixDraw::patch(side, alpha, &mut stream),
            _ => MixDraw::Blend(1.0),
        }
    }
}

impl MixDraw {
    /// A box with a uniform centre. Its area is 1 − λ of the image before it is clipped at the edges.
    fn patch(side: usize, alpha: f64, stream: &mut Stream) -> Self {
        let half = (0.5 * (1.0 - stream.beta(alpha)).sqrt() * side as f64) as usize;
        let mut ends = || {
            let middle = stream.below(side as u32) as usize;
            (middle.saturating_sub(half), side.min(middle + half))
        };
        let ((left, right), (top, bottom)) = (ends(), ends());
        Self::Patch([top, left, bottom, right])
    }

    /// Mixes `other` into `own`. Both have lines of `line` values.
    fn apply(self, own: &mut [f32], other: &[f32], line: usize, channels: usize) {
        match self {
            Self::Blend(share) => {
                let (share, rest) = (share as f32, (1.0 - share) as f32);
                own.iter_mut().zip(other).for_each(|(own, other)| *own = *own * share + other * rest);
            }
            Self::Patch([top, left, bottom, right]) => {
                let lines = own.chunks_exact_mut(line).zip(other.chunks_exact(line));
                for (own, other) in lines.skip(top).take(bottom - top) {
                    let part = left * channels..right * channels;
                    own[part.clone()].copy_from_slice(&other[part]);
                }
            }
        }
    }

    /// The weight of the image itself.
    fn share(self, side: usize) -> f64 {
        match self {
            Self::Blend(share) => share,
            Self::Patch([top, left, bottom, right]) => {
                1.0 - ((bottom - top) * (right - left)) as f64 / (side * side) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::fixtures::Fixtures;

    const SIDE: usize = 12;

    /// Images of one number each: 0, 1, 2, ….
    fn batch(count: usize) -> Tensor {
        let numbers = (0..count).flat_map(|image| [image as f32; SIDE * SIDE * 3]);
        Tensor::from_vec(numbers.collect::<Vec<f32>>(), (count, SIDE, SIDE, 3), &Device::Cpu).unwrap()
    }

    fn mixer(augment: &str) -> BatchMixer {
        BatchMixer::new(&toml::from_str(augment).unwrap(), 3).unwrap()
    }

    fn mix(augment: &str, count: usize) -> (Vec<Vec<f32>>, Vec<f64>) {
        let streams: Vec<u64> = (0..count as u64).collect();
        let (images, shares) = mixer(augment).mix(&batch(count), 1, &streams).unwrap();
        let numbers = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (numbers.chunks(SIDE * SIDE * 3).map(<[f32]>::to_vec).collect(), shares)
    }

    #[test]
    fn each_image_has_its_share_and_the_one_ahead_the_rest() {
        const COUNT: usize = 40;
        for augment in ["mixup = {}", "cutmix = {}", "mixup = { alpha = 1.0 }\ncutmix = { alpha = 0.5 }"] {
            let (images, shares) = mix(augment, COUNT);
            for (place, (image, share)) in images.iter().zip(&shares).enumerate() {
                let other = (place + COUNT - 1) % COUNT;
                let mean = image.iter().map(|&number| f64::from(number)).sum::<f64>() / image.len() as f64;
                let expected = share * place as f64 + (1.0 - share) * other as f64;
                assert!((mean - expected).abs() < 1e-4, "{augment} {place}: {mean} {expected}");
            }
            let whole = |image: &Vec<f32>| image.iter().all(|number| *number == image[0]);
            let patched = images.iter().filter(|image| !whole(image)).count();
            match augment.matches("alpha").count() {
                2 => assert!((8..32).contains(&patched), "{patched}"),
                _ => assert_eq!(patched > 25, augment.starts_with("cutmix"), "{augment} {patched}"),
            }
        }
    }

    #[test]
    fn torchvision_mixes_the_same_bits_by_the_same_shares() {
        let fixture = Fixtures::open("mixed.safetensors");
        let images = fixture.floats("images");
        let side = 7;
        let length = side * side * 3;
        for (name, mixing) in [("mixup", MixDraw::Blend(0.3)), ("cutmix", MixDraw::Patch([1, 2, 4, 6]))] {
            let mut mixed = images.clone();
            let others = images[2 * length..].chunks(length).chain(images.chunks(length));
            for (own, other) in mixed.chunks_mut(length).zip(others) {
                mixing.apply(own, other, side * 3, 3);
            }
            assert_eq!(mixed, fixture.floats(name), "{name}");
            // The shares are those of torchvision's targets, one class for each image.
            let share = mixing.share(side) as f32;
            let targets = fixture.floats(&format!("{name}.targets"));
            assert!((0..3).all(|row| targets[row * 3 + row] == share), "{name}");
        }
    }

    #[test]
    fn the_draws_of_an_image_depend_on_no_other() {
        for augment in ["mixup = {}", "cutmix = {}"] {
            let mixer = mixer(augment);
            let (_, shares) = mixer.mix(&batch(4), 1, &[10, 11, 12, 13]).unwrap();
            let (_, others) = mixer.mix(&batch(3), 1, &[13, 7, 11]).unwrap();
            assert_eq!((others[0], others[2]), (shares[3], shares[1]));
            assert_ne!(mixer.mix(&batch(4), 2, &[10, 11, 12, 13]).unwrap().1, shares);
            // The only image of a batch is mixed with itself.
            let (alone, _) = mixer.mix(&batch(2).narrow(0, 1, 1).unwrap(), 1, &[5]).unwrap();
            assert!(
                alone.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|n| (n - 1.0).abs() < 1e-6)
            );
        }
    }
}
