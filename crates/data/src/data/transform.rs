//! Transforms a picture to the input values of a network.
//!
//! Evaluation is torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize`, bit for bit. Training applies the
//! random changes of a stage between crop and normalisation. The first half of each is the same in every epoch and
//! can be cached ([`Transform::prepare`]). The second half is drawn anew in every epoch ([`Transform::finish`]). For
//! a picture that is not cached, only the region of a random crop is decoded ([`Transform::finish_unkept`]). `finish`
//! and `finish_unkept` also return the [`GeometryChain`] of the pixels, for the boxes of the picture.

mod framing;
mod normalizer;
mod resizing;

use candle_core::{Device, Tensor};

use self::framing::CropPlan;
use self::normalizer::Normalizer;
use self::resizing::PixelSource;
use super::augment::{AugmentDraws, random_region};
use super::geometry::{Geometry, GeometryChain};
use super::image::{EncodedImage, Image, ImageReader, Region, Scale};
use crate::pipeline::{Augment, Decode, Fit, ImageSettings};
use crate::random::Stream;
use crate::{Error, Result};

pub use framing::FitMode;
pub use resizing::Scratch;

/// The padding of detectors, where 255 is full range.
const DEFAULT_PAD: f64 = 114.0;

/// Converts images of a data set to squares of normalised values.
#[derive(Clone, Debug)]
pub struct Transform {
    size: u32,
    fit: FitMode,
    augment: Augment,
    decode: Decode,
    reader: ImageReader,
    normalizer: Normalizer,
}

/// A picture before the random changes.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedImage {
    pub image: Image,
    /// The geometric change from the upright picture to the image.
    pub geometry: Geometry,
}

impl Transform {
    /// The transform for evaluation. `image_size` overrides the data set's size, if given.
    pub fn evaluation(images: &ImageSettings, image_size: Option<usize>) -> Self {
        Self::training(images, image_size, &Augment::default())
    }

    /// The transform for training. Without random changes it equals that for evaluation.
    pub fn training(images: &ImageSettings, image_size: Option<usize>, augment: &Augment) -> Self {
        let size = image_size.unwrap_or(images.image_size);
        let fit = match images.fit {
            Fit::CentreCrop => FitMode::CentreCrop { resize: images.shorter_side(size) as u32 },
            Fit::Letterbox { pad } => FitMode::Letterbox { pad, stride: size as u32 },
        };
        Self {
            size: size as u32,
            fit,
            augment: augment.clone(),
            decode: images.decode,
            reader: ImageReader::new(images),
            normalizer: Normalizer::new(&images.statistics()),
        }
    }

    /// Replaces the fit mode of pictures without a random crop.
    pub fn with_fit(self, fit: FitMode) -> Self {
        Self { fit, ..self }
    }

    /// Prepares whole pictures without padding: the longer side has the size of the network's input.
    pub fn of_whole_pictures(self) -> Self {
        let pad = self.pad();
        self.with_fit(FitMode::Letterbox { pad, stride: 1 })
    }

    /// The value around a picture that does not fill the image, where 255 is full range.
    pub fn pad(&self) -> f64 {
        match self.fit {
            FitMode::Letterbox { pad, .. } => pad,
            FitMode::CentreCrop { .. } => DEFAULT_PAD,
        }
    }

    /// Opens an image file with this transform's options.
    ///
    /// # Errors
    /// As for [`ImageReader::open`].
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<EncodedImage<'a>, String> {
        self.reader.open(bytes)
    }

    /// The side of the square images in pixels; for a letterbox, the longer side.
    pub fn image_size(&self) -> usize {
        self.size as usize
    }

    /// The number of channels of an image.
    pub fn channels(&self) -> usize {
        self.normalizer.channels()
    }

    /// The RGB8 pixels of normalised values, to be looked at.
    pub fn picture(&self, numbers: &[f32]) -> Vec<u8> {
        self.normalizer.picture(numbers)
    }

    /// Whether [`Transform::finish`] accepts a prepared image of this size.
    pub fn can_finish(&self, size: (u32, u32)) -> bool {
        self.augment.random_resized_crop.is_some() || size == (self.size, self.size)
    }

    /// How image files are read.
    pub fn reader(&self) -> &ImageReader {
        &self.reader
    }

    /// Whether every image becomes a square, as batches require.
    pub fn is_square(&self) -> bool {
        self.fit.is_square(self.size)
    }

    /// Whether an image is the same in every epoch. Mixing it with other images happens later and does not count.
    pub fn is_deterministic(&self) -> bool {
        let augment = &self.augment;
        let jitter = augment.color_jitter.as_ref();
        augment.random_resized_crop.is_none()
            && augment.horizontal_flip == 0.0
            && augment.vertical_flip == 0.0
            && augment.rotation == 0.0
            && augment.rand_augment.is_none()
            && augment.random_erasing.is_none()
            && augment.mosaic.is_none()
            && augment.affine.is_none()
            && augment.hsv.is_none()
            && augment.grayscale == 0.0
            && augment.gaussian_blur.is_none()
            && jitter.is_none_or(|jitter| {
                [jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue] == [0.0; 4]
            })
    }

    /// The size in bytes of a prepared picture. `None` if caching is not worthwhile: whole pictures are cheaper to
    /// decode at the smallest scale that each crop allows.
    pub fn kept_bytes(&self, (width, height): (u32, u32)) -> Option<usize> {
        let (width, height) = match (&self.augment.random_resized_crop, self.decode) {
            (None, _) => self.fit.framing((width, height), self.size).output,
            (Some(_), Decode::Full) => (width, height),
            (Some(_), Decode::Scaled) => return None,
        };
        let pixel = if self.reader.is_rgb8() { 3 } else { self.channels() * size_of::<f32>() };
        Some(width as usize * height as usize * pixel)
    }

    /// Applies the changes before the random ones: resize and centre crop, or only decoding if a random crop follows.
    ///
    /// # Errors
    /// The cause if the picture cannot be decoded; the caller knows the file's name.
    pub fn prepare(&self, picture: &EncodedImage, scratch: &mut Scratch) -> Result<PreparedImage, String> {
        let size = picture.size();
        if self.augment.random_resized_crop.is_some() {
            let image = self.decode(picture, Scale::Whole, Region::whole(size), &mut scratch.jpeg)?;
            return Ok(PreparedImage { image, geometry: Geometry::identity(size) });
        }
        let framing = self.fit.framing(size, self.size);
        let image = self.frame(PixelSource::File(picture), &framing, scratch)?;
        Ok(PreparedImage { image, geometry: framing.geometry(size) })
    }

    /// Applies the random changes, drawn from the sample's stream of this epoch, and normalises. Returns the values,
    /// channels last, and the geometric changes of the pixels.
    pub fn finish(
        &self,
        prepared: &PreparedImage,
        stream: &mut Stream,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> GeometryChain {
        let PreparedImage { image, geometry } = prepared;
        if self.is_deterministic() {
            self.normalizer.image(image, out);
            return GeometryChain(vec![*geometry]);
        }
        let draws = AugmentDraws::new(&self.augment, self.image_size(), stream);
        let (image, geometry) = match self.cropped(image.dimensions(), stream) {
            Some(framing) => {
                let framed = self.frame(PixelSource::Decoded(image), &framing, scratch);
                let framed = framed.expect("what is decoded already cannot fail to be");
                (framed, geometry.then(framing.map(), framing.output))
            }
            None => (scratch.copy(image), *geometry),
        };
        self.change(&draws, image, scratch, out);
        draws.after(&self.augment, geometry)
    }

    /// Does [`Transform::prepare`] and [`Transform::finish`] in one step, without unneeded pixels.
    ///
    /// # Errors
    /// As for [`Transform::prepare`].
    pub fn finish_unkept(
        &self,
        picture: &EncodedImage,
        stream: &mut Stream,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<GeometryChain, String> {
        let (draws, framing) = self.draw(picture.size(), stream);
        let image = self.frame(PixelSource::File(picture), &framing, scratch)?;
        self.change(&draws, image, scratch, out);
        Ok(draws.after(&self.augment, framing.geometry(picture.size())))
    }

    /// The geometric changes that [`Transform::finish`] returns for an upright picture of this size, without its pixels.
    pub fn moves(&self, size: (u32, u32), stream: &mut Stream) -> GeometryChain {
        let (draws, framing) = self.draw(size, stream);
        draws.after(&self.augment, framing.geometry(size))
    }

    /// The random values of a picture of this size, and the region of it that is shown.
    fn draw(&self, size: (u32, u32), stream: &mut Stream) -> (AugmentDraws, CropPlan) {
        let draws = AugmentDraws::new(&self.augment, self.image_size(), stream);
        let cropped = self.cropped(size, stream);
        (draws, cropped.unwrap_or_else(|| self.fit.framing(size, self.size)))
    }

    /// Converts the bytes of one image file to a tensor [1, height, width, channels], without random changes.
    ///
    /// # Errors
    /// The cause if the image cannot be decoded; the caller knows the file's name.
    pub fn tensor(&self, bytes: &[u8]) -> Result<Tensor> {
        Ok(self.evaluate(bytes)?.0)
    }

    /// As [`Transform::tensor`], together with the geometric change of the pixels.
    ///
    /// # Errors
    /// As for [`Transform::tensor`].
    pub fn evaluate(&self, bytes: &[u8]) -> Result<(Tensor, Geometry)> {
        let picture = self.open(bytes).map_err(Error::failed)?;
        let framing = self.fit.framing(picture.size(), self.size);
        self.input(PixelSource::File(&picture), &framing, picture.size())
    }

    /// Decodes all pixels of an image file, for [`Transform::tile`].
    ///
    /// # Errors
    /// As for [`Transform::tensor`].
    pub fn decoded(&self, bytes: &[u8]) -> Result<Image> {
        let picture = self.open(bytes).map_err(Error::failed)?;
        let (scratch, region) = (&mut Scratch::default(), Region::whole(picture.size()));
        self.decode(&picture, Scale::Whole, region, &mut scratch.jpeg).map_err(Error::failed)
    }

    /// As [`Transform::evaluate`], for a region of a decoded picture.
    ///
    /// # Errors
    /// As for [`Transform::tensor`].
    pub fn tile(&self, picture: &Image, region: Region) -> Result<(Tensor, Geometry)> {
        let framing = self.fit.framing((region.width, region.height), self.size);
        self.input(PixelSource::Decoded(picture), &CropPlan { region, ..framing }, picture.dimensions())
    }

    /// The input of a network, and its geometry.
    fn input(&self, source: PixelSource, framing: &CropPlan, size: (u32, u32)) -> Result<(Tensor, Geometry)> {
        let image = self.frame(source, framing, &mut Scratch::default()).map_err(Error::failed)?;
        let ((width, height), channels) = (image.dimensions(), self.channels());
        let (width, height) = (width as usize, height as usize);
        let mut numbers = vec![0.0; width * height * channels];
        self.normalizer.image(&image, &mut numbers);
        let tensor = Tensor::from_vec(numbers, (1, height, width, channels), &Device::Cpu)?;
        Ok((tensor, framing.geometry(size)))
    }

    /// Applies the drawn changes and normalisation to an image.
    fn change(&self, draws: &AugmentDraws, image: Image, scratch: &mut Scratch, out: &mut [f32]) {
        match image {
            Image::Rgb8(image) => {
                let image = if draws.only_flip(&self.augment) {
                    self.normalizer.rgb8(&image, draws.flips(), out);
                    image
                } else {
                    let image = draws.apply(&self.augment, image);
                    self.normalizer.rgb8(&image, (false, false), out);
                    image
                };
                scratch.pixels = image.into_raw();
            }
            Image::Other(raster) => {
                let raster = draws.apply_to_raster(&self.augment, raster, self.reader.background());
                self.normalizer.raster(&raster, out);
            }
        }
        draws.erase([self.image_size(), self.channels()], out);
    }

    /// The random crop, if there is one.
    fn cropped(&self, (width, height): (u32, u32), stream: &mut Stream) -> Option<CropPlan> {
        let region = random_region(self.augment.random_resized_crop.as_ref()?, width, height, stream);
        Some(CropPlan::filling(region, self.size))
    }
}

#[cfg(test)]
mod depth_tests;
#[cfg(test)]
mod geometry_tests;
#[cfg(test)]
mod tests;
