//! Reads images as the settings of a data set say.

use image::RgbImage;

use super::{DecodeOptions, EncodedImage, Image, JpegWorkspace, PixelFormat, Region, Scale, StoredPixels};
use crate::pipeline::ImageSettings;

/// Opens and decodes the images of a data set.
#[derive(Clone, Debug, Default)]
pub struct ImageReader {
    pub options: DecodeOptions,
    /// `None` if images become 8-bit RGB.
    stored: Option<StoredPixels>,
}

impl ImageReader {
    pub fn new(images: &ImageSettings) -> Self {
        let stored =
            images.keeps_depth().then(|| StoredPixels::new(images.range, images.channels, images.color));
        let pixels = match stored {
            Some(_) => PixelFormat::Stored { has_range: images.range.is_some() },
            None => PixelFormat::Rgb8,
        };
        let options = DecodeOptions {
            exif_orientation: images.exif_orientation,
            transparency: images.transparency,
            grey16: images.grey16,
            pixels,
        };
        Self { options, stored }
    }

    /// Whether images become 8-bit RGB.
    pub fn is_rgb8(&self) -> bool {
        self.stored.is_none()
    }

    /// The value of pixels that a change moves in from outside: black, or grey of colours without brightness.
    pub fn background(&self) -> f32 {
        if self.stored.as_ref().is_some_and(StoredPixels::is_chromaticity) { 0.5 } else { 0.0 }
    }

    /// Opens an image file.
    ///
    /// # Errors
    /// As for [`EncodedImage::open`].
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<EncodedImage<'a>, String> {
        EncodedImage::open(bytes, self.options)
    }

    /// Decodes a region of the upright picture. The result is RGB8, or floats in the declared range.
    ///
    /// # Errors
    /// As for [`EncodedImage::decode`], another number of channels than declared, and a range that its values cannot
    /// have.
    pub fn decode(
        &self,
        picture: &EncodedImage,
        scale: Scale,
        region: Region,
        workspace: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let image = picture.decode(scale, region, workspace)?;
        match &self.stored {
            None => Ok(image),
            Some(stored) => Ok(Image::Other(stored.values(image)?.0)),
        }
    }

    /// Decodes the whole upright picture to RGB8, to be looked at: the first three channels, or grey.
    ///
    /// # Errors
    /// As for [`ImageReader::open`] and [`ImageReader::decode`].
    pub fn picture(&self, bytes: &[u8]) -> Result<RgbImage, String> {
        let picture = self.open(bytes)?;
        let region = Region::whole(picture.size());
        Ok(self.decode(&picture, Scale::Whole, region, &mut JpegWorkspace::default())?.into_visible())
    }

    /// How many values of an image were beyond what its colour space can say, and were clipped.
    ///
    /// # Errors
    /// As for [`ImageReader::open`] and [`ImageReader::decode`].
    pub fn clipped_values(&self, bytes: &[u8]) -> Result<usize, String> {
        let Some(stored) = &self.stored else { return Ok(0) };
        let picture = self.open(bytes)?;
        let region = Region::whole(picture.size());
        let image = picture.decode(Scale::Whole, region, &mut JpegWorkspace::default())?;
        Ok(stored.values(image)?.1)
    }

    /// The cause if an image cannot be decoded.
    pub fn cause(&self, bytes: &[u8]) -> Option<String> {
        let decode = || {
            let picture = self.open(bytes)?;
            let region = Region::whole(picture.size());
            self.decode(&picture, Scale::Whole, region, &mut JpegWorkspace::default())
        };
        decode().err()
    }
}
