//! Decodes a region of a picture and resizes it to the output size.

use std::borrow::Cow;

use image::RgbImage;

use super::Transform;
use super::framing::CropPlan;
use crate::data::image::{EncodedImage, Image, JpegWorkspace, Region, ResizePlan, Scale};
use crate::pipeline::Decode;

/// Reusable memory of a thread for processing images.
#[derive(Default)]
pub struct Scratch {
    pub(super) jpeg: JpegWorkspace,
    between: Vec<u8>,
    window: Vec<u8>,
    pub(super) pixels: Vec<u8>,
}

/// The pixels to resize.
pub(super) enum PixelSource<'a> {
    File(&'a EncodedImage<'a>),
    Decoded(&'a Image),
}

impl Transform {
    /// # Errors
    /// As for [`ImageReader::decode`](crate::data::ImageReader::decode).
    pub(super) fn decode(
        &self,
        picture: &EncodedImage,
        scale: Scale,
        region: Region,
        workspace: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        self.reader.decode(picture, scale, region, workspace)
    }

    /// Resizes a region of a source into the output. The memory of RGB8 pixels comes from the scratch.
    pub(super) fn frame(
        &self,
        source: PixelSource,
        framing: &CropPlan,
        scratch: &mut Scratch,
    ) -> Result<Image, String> {
        let CropPlan { region, size, window, .. } = *framing;
        let scale = match source {
            PixelSource::Decoded(_) => Scale::Whole,
            PixelSource::File(picture) => self.scale(picture, region, size),
        };
        let resizing = ResizePlan::new(region, scale.divisor(), size, window);
        let needed = resizing.source();
        let (image, origin) = match source {
            PixelSource::Decoded(image) => (Cow::Borrowed(image), (0, 0)),
            PixelSource::File(picture) => {
                let image = self.decode(picture, scale, needed, &mut scratch.jpeg)?;
                (Cow::Owned(image), (needed.left, needed.top))
            }
        };
        match &*image {
            Image::Rgb8(image) => {
                let part = if framing.fills() { &mut scratch.pixels } else { &mut scratch.window };
                resizing.run(image, origin, &mut scratch.between, part);
            }
            Image::Other(raster) => {
                let resizing = ResizePlan::in_floats(region, scale.divisor(), size, window);
                let floats = resizing.floats(raster, origin);
                return Ok(Image::Other(framing.padded(floats, raster.channels)));
            }
        }
        if let Cow::Owned(Image::Rgb8(image)) = image {
            scratch.jpeg.reuse(image.into_raw());
        }
        if !framing.fills() {
            framing.put(&scratch.window, 3, framing.pad.round() as u8, &mut scratch.pixels);
        }
        Ok(Image::Rgb8(rgb8(framing.output, std::mem::take(&mut scratch.pixels))))
    }

    /// The smallest scale at which a region still has at least as many pixels on each axis as the target size.
    fn scale(&self, picture: &EncodedImage, region: Region, size: (u32, u32)) -> Scale {
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
}

impl Scratch {
    /// Copies an image; RGB8 pixels are copied into this memory.
    pub(super) fn copy(&mut self, image: &Image) -> Image {
        let Image::Rgb8(image) = image else { return image.clone() };
        let mut pixels = std::mem::take(&mut self.pixels);
        image.as_raw().clone_into(&mut pixels);
        Image::Rgb8(rgb8(image.dimensions(), pixels))
    }
}

fn rgb8((width, height): (u32, u32), pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(width, height, pixels).expect("the pixels are of this size")
}
