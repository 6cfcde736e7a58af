//! Images from pixels, and as the bytes of a file.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ImageResult, RgbImage};

use crate::error::{Error, Result};

/// High enough that text on boxes has no visible noise around it.
const QUALITY: u8 = 90;

/// An image of this width and height from its RGB8 pixels, row by row.
///
/// # Errors
/// A bug: another number of pixels.
pub fn rgb_image([width, height]: [u32; 2], pixels: Vec<u8>) -> Result<RgbImage> {
    RgbImage::from_raw(width, height, pixels)
        .ok_or_else(|| Error::bug("a picture whose pixels do not have its size"))
}

/// A baseline JPEG file with full colour resolution.
pub fn jpeg(image: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    written(JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(image))?;
    Ok(bytes)
}

/// A PNG file.
pub fn image_png(image: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    written(image.write_with_encoder(PngEncoder::new(&mut bytes)))?;
    Ok(bytes)
}

fn written(result: ImageResult<()>) -> Result<()> {
    result.map_err(|error| Error::failed(format!("cannot encode a picture: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn files_show_the_image() {
        let image = RgbImage::from_fn(33, 17, |x, y| Rgb([x as u8 * 7, y as u8 * 9, 128]));
        let png = image::load_from_memory(&image_png(&image).unwrap()).unwrap();
        assert_eq!(png.to_rgb8(), image);
        let read = image::load_from_memory(&jpeg(&image).unwrap()).unwrap().to_rgb8();
        let furthest = read.iter().zip(image.iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(furthest < Some(12), "{furthest:?}");
    }
}
