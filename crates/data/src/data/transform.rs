//! From a picture to the numbers a network reads.
//!
//! Evaluation is torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize`, bit for bit; training puts the random
//! changes of a stage between crop and normalisation. Each has a first half that is the same in every epoch and may be
//! kept ([`Transform::prepare`]), and a second half that is drawn anew ([`Transform::finish`]). Of a picture that is
//! not kept, only the part that a random crop takes is decoded ([`Transform::finish_unkept`]).

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::augment::{Draws, random_region};
use super::decode::{DecodeOptions, Picture};
use super::jpeg::{Scale, Workspace};
use super::resize::{Region, Resizing};
use crate::pipeline::{Augment, Decode, ImageFolder, Normalize};
use crate::random::Stream;
use crate::{Error, Result};

/// How images of a data set are made into squares of normalised numbers.
#[derive(Clone, Debug)]
pub struct Transform {
    size: u32,
    /// The shorter side before the centre crop.
    resize: u32,
    augment: Augment,
    decode: Decode,
    options: DecodeOptions,
    /// `(value / 255 − mean) / std` for every value of a byte, per channel.
    normalized: [[f32; 256]; 3],
}

/// Memory that the work on an image needs, kept by each thread from one image to the next.
#[derive(Default)]
pub struct Bench {
    jpeg: Workspace,
    between: Vec<u8>,
    part: Vec<u8>,
    square: Vec<u8>,
}

/// A part of a picture that is brought to a size, of which a window is put into a square.
struct Framing {
    region: Region,
    size: (u32, u32),
    window: Region,
    /// Where the window is in the square.
    place: (u32, u32),
}

/// Pixels to resize from.
enum Source<'a> {
    File(&'a Picture<'a>),
    Decoded(&'a RgbImage),
}

impl Transform {
    /// The transform of evaluation. `image_size` stands in for the data set's, if given.
    pub fn evaluation(folder: &ImageFolder, image_size: Option<usize>) -> Self {
        Self::training(folder, image_size, &Augment::default())
    }

    /// The transform of training, which without random changes is that of evaluation.
    pub fn training(folder: &ImageFolder, image_size: Option<usize>, augment: &Augment) -> Self {
        let size = image_size.unwrap_or(folder.image_size);
        let resize = folder.resize.unwrap_or_else(|| folder.resize_rounding.round(size * 8, 7));
        Self {
            size: size as u32,
            resize: resize as u32,
            augment: augment.clone(),
            decode: folder.decode,
            options: DecodeOptions {
                exif_orientation: folder.exif_orientation,
                transparency: folder.transparency,
                grey16: folder.grey16,
            },
            normalized: normalized(&folder.normalize.unwrap_or_default()),
        }
    }

    /// An image file as this transform reads it.
    ///
    /// # Errors
    /// As of [`Picture::open`].
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<Picture<'a>, String> {
        Picture::open(bytes, self.options)
    }

    /// The side of the square images in pixels.
    pub fn image_size(&self) -> usize {
        self.size as usize
    }

    /// Whether an image comes out the same in every epoch. What is mixed of it and another comes later.
    pub fn is_deterministic(&self) -> bool {
        let augment = &self.augment;
        let jitter = augment.color_jitter.as_ref();
        augment.random_resized_crop.is_none()
            && augment.horizontal_flip == 0.0
            && augment.vertical_flip == 0.0
            && augment.rotation == 0.0
            && augment.rand_augment.is_none()
            && augment.random_erasing.is_none()
            && jitter.is_none_or(|jitter| {
                [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue] == [0.0; 4]
            })
    }

    /// The bytes of what [`Transform::prepare`] makes of a picture of some size; none where it is not worth keeping,
    /// which are whole pictures that are cheaper to decode as small as each crop allows.
    pub fn kept_bytes(&self, (width, height): (u32, u32)) -> Option<usize> {
        let (width, height) = match (&self.augment.random_resized_crop, self.decode) {
            (None, _) => (self.size, self.size),
            (Some(_), Decode::Full) => (width, height),
            (Some(_), Decode::Scaled) => return None,
        };
        Some(width as usize * height as usize * 3)
    }

    /// What is done to a picture before anything random: resize and centre crop, or decoding alone ahead of a random
    /// crop.
    ///
    /// # Errors
    /// Why it cannot be decoded; the caller knows the file's name.
    pub fn prepare(&self, picture: &Picture, bench: &mut Bench) -> Result<RgbImage, String> {
        if self.augment.random_resized_crop.is_some() {
            return picture.decode(Scale::Whole, Region::whole(picture.size()), &mut bench.jpeg);
        }
        self.frame(Source::File(picture), &self.central(picture.size()), bench)?;
        Ok(square(std::mem::take(&mut bench.square), self.size))
    }

    /// The random changes to a prepared image, drawn from the sample's stream of this epoch, and normalisation: the
    /// numbers of the square, channels last.
    pub fn finish(&self, prepared: &RgbImage, stream: &mut Stream, bench: &mut Bench, out: &mut [f32]) {
        if self.is_deterministic() {
            return self.normalize(prepared.as_raw(), (false, false), out);
        }
        let draws = Draws::new(&self.augment, self.image_size(), stream);
        match self.cropped(prepared.dimensions(), stream) {
            Some(framing) => {
                let framed = self.frame(Source::Decoded(prepared), &framing, bench);
                framed.expect("what is decoded already cannot fail to be");
            }
            None => prepared.as_raw().clone_into(&mut bench.square),
        }
        self.change(&draws, bench, out);
    }

    /// [`Transform::prepare`] and [`Transform::finish`] in one, without what is not needed.
    ///
    /// # Errors
    /// As of [`Transform::prepare`].
    pub fn finish_unkept(
        &self,
        picture: &Picture,
        stream: &mut Stream,
        bench: &mut Bench,
        out: &mut [f32],
    ) -> Result<(), String> {
        let draws = Draws::new(&self.augment, self.image_size(), stream);
        let cropped = self.cropped(picture.size(), stream);
        let framing = cropped.unwrap_or_else(|| self.central(picture.size()));
        self.frame(Source::File(picture), &framing, bench)?;
        self.change(&draws, bench, out);
        Ok(())
    }

    /// The bytes of one image file to a tensor [1, size, size, 3], without random changes.
    ///
    /// # Errors
    /// Why the image cannot be decoded; the caller knows the file's name.
    pub fn tensor(&self, bytes: &[u8]) -> Result<Tensor> {
        let side = self.image_size();
        let mut numbers = vec![0.0; side * side * 3];
        let mut bench = Bench::default();
        let picture = self.open(bytes).map_err(Error::failed)?;
        self.frame(Source::File(&picture), &self.central(picture.size()), &mut bench)
            .map_err(Error::failed)?;
        self.normalize(&bench.square, (false, false), &mut numbers);
        Ok(Tensor::from_vec(numbers, (1, side, side, 3), &Device::Cpu)?)
    }

    /// The changes that were drawn for the square on the bench, with normalisation among them.
    fn change(&self, draws: &Draws, bench: &mut Bench, out: &mut [f32]) {
        if draws.only_flip(&self.augment) {
            self.normalize(&bench.square, draws.flips(), out);
        } else {
            let image = draws.apply(&self.augment, square(std::mem::take(&mut bench.square), self.size));
            self.normalize(image.as_raw(), (false, false), out);
            bench.square = image.into_raw();
        }
        draws.erase(self.image_size(), out);
    }

    /// Resizes a part of a source into the square on the bench, black where nothing is.
    fn frame(&self, source: Source, framing: &Framing, bench: &mut Bench) -> Result<(), String> {
        let Framing { region, size, window, place } = *framing;
        let whole = (window.width, window.height) == (self.size, self.size);
        let part = if whole { &mut bench.square } else { &mut bench.part };
        match source {
            Source::Decoded(image) => {
                let resizing = Resizing::new(region, 1, size, window);
                resizing.run(image, (0, 0), &mut bench.between, part);
            }
            Source::File(picture) => {
                let scale = self.scale(picture, region, size);
                let resizing = Resizing::new(region, scale.divisor(), size, window);
                let needed = resizing.source();
                let image = picture.decode(scale, needed, &mut bench.jpeg)?;
                resizing.run(&image, (needed.left, needed.top), &mut bench.between, part);
                bench.jpeg.reuse(image.into_raw());
            }
        }
        if !whole {
            let side = self.size as usize * 3;
            bench.square.clear();
            bench.square.resize(side * self.size as usize, 0);
            let rows = bench.square.chunks_exact_mut(side).skip(place.1 as usize);
            for (row, part) in rows.zip(bench.part.chunks_exact(window.width as usize * 3)) {
                row[place.0 as usize * 3..][..part.len()].copy_from_slice(part);
            }
        }
        Ok(())
    }

    /// The smallest scale at which a region still has as many pixels each way as it is brought to.
    fn scale(&self, picture: &Picture, region: Region, size: (u32, u32)) -> Scale {
        let suffices = |scale: &Scale| {
            region.width >= size.0 * scale.divisor() && region.height >= size.1 * scale.divisor()
        };
        match self.decode {
            Decode::Scaled if picture.scales() => {
                Scale::ALL.into_iter().find(suffices).unwrap_or(Scale::Whole)
            }
            _ => Scale::Whole,
        }
    }

    /// A random crop, if there is one.
    fn cropped(&self, (width, height): (u32, u32), stream: &mut Stream) -> Option<Framing> {
        let size = (self.size, self.size);
        let region = random_region(self.augment.random_resized_crop.as_ref()?, width, height, stream);
        Some(Framing { region, size, window: Region::whole(size), place: (0, 0) })
    }

    /// Shorter side resized, then the central square, padded with black where the image is smaller: torchvision's
    /// `Resize` and `CenterCrop`. Only the pixels inside the square are computed.
    fn central(&self, dimensions: (u32, u32)) -> Framing {
        let size = resized(dimensions, self.resize);
        let (left, width, pad_left) = central(size.0, self.size);
        let (top, height, pad_top) = central(size.1, self.size);
        let window = Region { left, top, width, height };
        Framing { region: Region::whole(dimensions), size, window, place: (pad_left, pad_top) }
    }

    /// Normalises a square, flipped across or down by the order it is written in.
    fn normalize(&self, square: &[u8], (across, down): (bool, bool), out: &mut [f32]) {
        let [red, green, blue] = &self.normalized;
        let length = self.image_size() * 3;
        let numbers = |out: &mut [f32], pixel: &[u8]| {
            out[0] = red[usize::from(pixel[0])];
            out[1] = green[usize::from(pixel[1])];
            out[2] = blue[usize::from(pixel[2])];
        };
        for (y, out) in out.chunks_exact_mut(length).enumerate() {
            let y = if down { self.image_size() - 1 - y } else { y };
            let row = square[y * length..][..length].chunks_exact(3);
            let places = out.chunks_exact_mut(3);
            if across {
                places.rev().zip(row).for_each(|(out, pixel)| numbers(out, pixel));
            } else {
                places.zip(row).for_each(|(out, pixel)| numbers(out, pixel));
            }
        }
    }
}

fn square(pixels: Vec<u8>, side: u32) -> RgbImage {
    RgbImage::from_raw(side, side, pixels).expect("a square of this side")
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
mod tests;
