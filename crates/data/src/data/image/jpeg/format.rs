//! JPEG as one of the image formats.

use image::RgbImage;

use super::{CUT_OFF, Damage, Jpeg, JpegWorkspace, Scale};
use crate::data::code_paths;
use crate::data::image::decode::check_pixels;
use crate::data::image::{DecodeOptions, Decoder, Image, ImageFormat, Region};

pub const FORMAT: ImageFormat = ImageFormat {
    name: "JPEG",
    extensions: &["jpg", "jpeg", "jpe", "jfif"],
    signatures: &[(0, &[0xFF, 0xD8, 0xFF])],
    code_path: code_paths::JPEG,
    open: |bytes| Ok(Box::new(open(bytes)?)),
    // Opening reads the headers and looks for the end.
    looks_whole: |_| true,
};

fn open(bytes: &[u8]) -> Result<Jpeg<'_>, String> {
    let jpeg = Jpeg::open(bytes).map_err(damaged)?;
    let (width, height) = jpeg.size();
    check_pixels(width, height)?;
    Ok(jpeg)
}

impl Decoder for Jpeg<'_> {
    fn size(&self) -> (u32, u32) {
        Jpeg::size(self)
    }

    fn exif(&self) -> Option<&[u8]> {
        Jpeg::exif(self)
    }

    fn scales(&self) -> bool {
        true
    }

    fn decode(
        &self,
        scale: Scale,
        region: Region,
        _: DecodeOptions,
        workspace: &mut JpegWorkspace,
    ) -> Result<Image, String> {
        let pixels = Jpeg::decode(self, scale, region, workspace).map_err(damaged)?;
        RgbImage::from_raw(region.width, region.height, pixels)
            .map(Image::Rgb8)
            .ok_or_else(|| "the image has no pixels".to_owned())
    }
}

fn damaged(cause: Damage) -> String {
    if cause == CUT_OFF {
        return "the JPEG data is cut off".into();
    }
    format!("the JPEG data is damaged: {cause}")
}
