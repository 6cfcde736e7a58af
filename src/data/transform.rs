//! From a decoded image to the numbers a network reads.
//!
//! Evaluation is torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize`, bit for bit; training puts the random
//! changes of a stage between crop and normalisation. Each has a first half that is the same in every epoch and may be
//! kept ([`Transform::prepare`]), and a second half that is drawn anew ([`Transform::finish`]).

use candle_core::{Device, Tensor};
use image::{RgbImage, imageops};

use super::augment::{Draws, random_region};
use super::decode::decode;
use super::resize::{Region, resize, resize_window};
use crate::pipeline::{Augment, ImageFolder, Normalize};
use crate::random::Stream;
use crate::{Error, Result};

/// How images of a data set are made into squares of normalised numbers.
#[derive(Clone, Debug)]
pub struct Transform {
    size: u32,
    /// The shorter side before the centre crop.
    resize: u32,
    augment: Augment,
    /// `(value / 255 − mean) / std` for every value of a byte, per channel.
    normalized: [[f32; 256]; 3],
}

impl Transform {
    /// The transform of evaluation. `image_size` stands in for the data set's, if given.
    pub fn evaluation(folder: &ImageFolder, image_size: Option<usize>) -> Self {
        Self::training(folder, image_size, &Augment::default())
    }

    /// The transform of training, which without random changes is that of evaluation.
    pub fn training(folder: &ImageFolder, image_size: Option<usize>, augment: &Augment) -> Self {
        let size = image_size.unwrap_or(folder.image_size);
        let resize = folder.resize.unwrap_or((size as f64 / 0.875).round() as usize);
        Self {
            size: size as u32,
            resize: resize as u32,
            augment: augment.clone(),
            normalized: normalized(&folder.normalize),
        }
    }

    /// The side of the square images in pixels.
    pub fn image_size(&self) -> usize {
        self.size as usize
    }

    /// Whether an image comes out the same in every epoch.
    pub fn is_deterministic(&self) -> bool {
        let augment = &self.augment;
        let jitter = augment.color_jitter.as_ref();
        augment.random_resized_crop.is_none()
            && augment.horizontal_flip == 0.0
            && augment.vertical_flip == 0.0
            && augment.rotation == 0.0
            && jitter.is_none_or(|jitter| {
                [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue] == [0.0; 4]
            })
    }

    /// What is done to an image before anything random: resize and centre crop, or nothing ahead of a random crop.
    pub fn prepare(&self, image: RgbImage) -> RgbImage {
        if self.augment.random_resized_crop.is_some() {
            return image;
        }
        self.central_square(&image)
    }

    /// The random changes to a prepared image, drawn from the sample's stream of this epoch.
    pub fn finish(&self, prepared: &RgbImage, stream: &mut Stream) -> RgbImage {
        if self.is_deterministic() {
            return prepared.clone();
        }
        let draws = Draws::new(&self.augment, stream);
        let cropped = match &self.augment.random_resized_crop {
            Some(crop) => {
                let region = random_region(crop, prepared.width(), prepared.height(), stream);
                resize(prepared, region, self.size, self.size)
            }
            None => prepared.clone(),
        };
        draws.apply(&self.augment, cropped)
    }

    /// Appends an image's numbers, channels last.
    pub fn normalize_into(&self, image: &RgbImage, numbers: &mut Vec<f32>) {
        let [red, green, blue] = &self.normalized;
        numbers.extend(image.pixels().flat_map(|pixel| {
            let [r, g, b] = pixel.0.map(usize::from);
            [red[r], green[g], blue[b]]
        }));
    }

    /// The bytes of one image file to a tensor [1, size, size, 3], without random changes.
    ///
    /// # Errors
    /// Why the image cannot be decoded; the caller knows the file's name.
    pub fn tensor(&self, bytes: &[u8]) -> Result<Tensor> {
        let image = decode(bytes).map_err(Error::failed)?;
        let side = self.image_size();
        let mut numbers = Vec::with_capacity(side * side * 3);
        self.normalize_into(&self.central_square(&image), &mut numbers);
        Ok(Tensor::from_vec(numbers, (1, side, side, 3), &Device::Cpu)?)
    }

    /// Shorter side resized, then the central square, padded with black where the image is smaller: torchvision's
    /// `Resize` and `CenterCrop`. Only the pixels inside the square are computed.
    fn central_square(&self, image: &RgbImage) -> RgbImage {
        let size = resized(image.dimensions(), self.resize);
        let (left, width, pad_left) = central(size.0, self.size);
        let (top, height, pad_top) = central(size.1, self.size);
        let window = Region { left, top, width, height };
        let part = resize_window(image, Region::of(image), size, window);
        if (width, height) == (self.size, self.size) {
            return part;
        }
        let mut square = RgbImage::new(self.size, self.size);
        imageops::replace(&mut square, &part, pad_left.into(), pad_top.into());
        square
    }
}

/// Three f32 operations in torchvision's order: `ToTensor` divides by 255, `Normalize` subtracts, then divides.
fn normalized(statistics: &Normalize) -> [[f32; 256]; 3] {
    let channel = |channel: usize| {
        let (mean, std) = (statistics.mean[channel] as f32, statistics.std[channel] as f32);
        std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
    };
    std::array::from_fn(channel)
}

/// The size with the shorter side as given, the longer in proportion and rounded down as torchvision's `Resize` does.
fn resized((width, height): (u32, u32), shorter: u32) -> (u32, u32) {
    let longer = |short: u32, long: u32| ((u64::from(shorter) * u64::from(long)) / u64::from(short)) as u32;
    if width <= height { (shorter, longer(width, height)) } else { (longer(height, width), shorter) }
}

/// Of an axis of some length, the offset and length of what a central crop keeps, and the black ahead of it.
fn central(length: u32, size: u32) -> (u32, u32, u32) {
    // Odd margins: padding puts the smaller half first, cropping rounds half to even.
    match length.checked_sub(size) {
        Some(spare) => ((f64::from(spare) / 2.0).round_ties_even() as u32, size, 0),
        None => (0, length, (size - length) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fixtures::{Fixtures, bytes};
    use crate::pipeline::{ColorJitter, RandomResizedCrop};
    use crate::random::Purpose;

    fn folder(image_size: usize, resize: Option<usize>) -> ImageFolder {
        serde_json::from_value(serde_json::json!({ "root": "", "image_size": image_size, "resize": resize }))
            .unwrap()
    }

    #[test]
    fn evaluation_is_bit_exact_with_torchvision() {
        let fixtures = Fixtures::open("evaluated.safetensors");
        let mut compared = 0;
        for name in fixtures.names() {
            let Some(case) = name.strip_suffix(":source") else { continue };
            let numbers: Vec<usize> = case.split(':').skip(1).map(|number| number.parse().unwrap()).collect();
            let transform = Transform::evaluation(&folder(numbers[1], Some(numbers[0])), None);
            assert!(transform.is_deterministic());
            let mut actual = Vec::new();
            transform.normalize_into(&transform.prepare(fixtures.image(&name)), &mut actual);
            assert_eq!(actual, fixtures.floats(&format!("{case}:tensor")), "{case}");
            compared += 1;
        }
        assert_eq!(compared, 7);
    }

    #[test]
    fn the_shorter_side_defaults_to_an_eighth_more() {
        assert_eq!(Transform::evaluation(&folder(224, None), None).resize, 256);
        assert_eq!(Transform::evaluation(&folder(224, None), Some(64)).resize, 73);
        assert_eq!(Transform::evaluation(&folder(224, Some(240)), Some(64)).resize, 240);
    }

    #[test]
    fn a_file_becomes_a_tensor_without_random_changes() {
        let augment = Augment { horizontal_flip: 1.0, ..Augment::default() };
        let file = bytes("baseline_420.jpg");
        let tensor = |transform: Transform| transform.tensor(&file).unwrap();
        let plain = tensor(Transform::evaluation(&folder(16, None), None));
        assert_eq!(plain.dims(), [1, 16, 16, 3]);
        let training = tensor(Transform::training(&folder(16, None), None, &augment));
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(&plain), numbers(&training));
    }

    #[test]
    fn random_changes_depend_on_seed_epoch_and_sample_alone() {
        let augment = Augment {
            random_resized_crop: Some(RandomResizedCrop { scale: [0.1, 1.0], ratio: [0.75, 1.3] }),
            horizontal_flip: 0.5,
            rotation: 20.0,
            color_jitter: Some(ColorJitter { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.1 }),
            ..Augment::default()
        };
        let transform = Transform::training(&folder(16, None), None, &augment);
        let source = Fixtures::open("transformed.safetensors").image("source");
        let make = |epoch, sample| {
            transform.finish(
                &transform.prepare(source.clone()),
                &mut Stream::new(1, Purpose::Augment, epoch, sample),
            )
        };
        assert_eq!(make(0, 0), make(0, 0));
        assert_ne!(make(0, 0), make(1, 0));
        assert_ne!(make(0, 0), make(0, 1));
        assert_eq!(make(0, 0).dimensions(), (16, 16));
    }
}
