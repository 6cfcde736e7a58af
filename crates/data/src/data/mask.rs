//! Masks: which pixels of a picture belong to a region, such as a shadow, and how much of a box lies in it.

use super::image::{
    DecodeOptions, EncodedImage, JpegWorkspace, PixelData, PixelFormat, Raster, Region, Scale,
};

/// A region of a picture. It holds sums, so that the share of any box takes the same time.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    width: usize,
    height: usize,
    /// [height + 1, width + 1]: the number of pixels inside, above and to the left.
    sums: Vec<u32>,
}

impl Mask {
    /// Decodes an image file. Pixels are inside if any of their colours is not zero; transparency is no colour. The depth
    /// of the file is kept, so that 1 of 65,535 is inside.
    ///
    /// # Errors
    /// The cause in lower case, without the file's name: `the JPEG data is cut off`.
    pub fn decode(bytes: &[u8], exif_orientation: bool) -> Result<Self, String> {
        let pixels = PixelFormat::Stored { has_range: true };
        let options = DecodeOptions { exif_orientation, pixels, ..DecodeOptions::default() };
        let picture = EncodedImage::open(bytes, options)?;
        let region = Region::whole(picture.size());
        let image = picture.decode(Scale::Whole, region, &mut JpegWorkspace::default())?;
        Ok(Self::of_raster(&image.into_raster()))
    }

    fn of_raster(raster: &Raster) -> Self {
        let Raster { width, height, channels, samples } = raster;
        let (width, height) = (*width as usize, *height as usize);
        // Grey with transparency, and RGB with transparency.
        let colours = if [2, 4].contains(channels) { channels - 1 } else { *channels };
        let is_inside = |pixel: usize| {
            let place = pixel * channels..pixel * channels + colours;
            match samples {
                PixelData::U8(samples) => samples[place].iter().any(|sample| *sample != 0),
                PixelData::U16(samples) => samples[place].iter().any(|sample| *sample != 0),
                PixelData::F32(samples) => samples[place].iter().any(|sample| *sample != 0.0),
            }
        };
        let stride = width + 1;
        let mut sums = vec![0u32; stride * (height + 1)];
        for row in 0..height {
            let mut inside = 0;
            for column in 0..width {
                inside += u32::from(is_inside(row * width + column));
                sums[(row + 1) * stride + column + 1] = sums[row * stride + column + 1] + inside;
            }
        }
        Self { width, height, sums }
    }

    /// Width and height in pixels, upright.
    pub fn size(&self) -> [u32; 2] {
        [self.width as u32, self.height as u32]
    }

    /// The share of a box that is inside, 0 to 1; of a box that reaches beyond the picture, that of its part in the
    /// picture. `corners` are left, top, right, bottom in pixels. 0 of a box without area.
    pub fn share(&self, corners: [f64; 4]) -> f64 {
        let (width, height) = (self.width as f64, self.height as f64);
        let [left, right] = [corners[0], corners[2]].map(|x| x.clamp(0.0, width));
        let [top, bottom] = [corners[1], corners[3]].map(|y| y.clamp(0.0, height));
        let area = (right - left) * (bottom - top);
        if !(area > 0.0 && right > left) {
            return 0.0;
        }
        let inside =
            self.sum(right, bottom) - self.sum(left, bottom) - self.sum(right, top) + self.sum(left, top);
        (inside / area).clamp(0.0, 1.0)
    }

    /// The area inside, above and to the left of a point. Within a pixel it is bilinear.
    fn sum(&self, x: f64, y: f64) -> f64 {
        let at = |row: usize, column: usize| f64::from(self.sums[row * (self.width + 1) + column]);
        let (column, row) = ((x as usize).min(self.width), (y as usize).min(self.height));
        let (right, below) = ((column + 1).min(self.width), (row + 1).min(self.height));
        let (across, down) = (x - column as f64, y - row as f64);
        let along = |row: usize| at(row, column) + across * (at(row, right) - at(row, column));
        along(row) + down * (along(below) - along(row))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgba};

    use super::*;

    fn encoded(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// 6 × 4 pixels; the columns 2 and 3 are inside.
    fn mask() -> Mask {
        let stripe = ImageBuffer::from_fn(6, 4, |x, _| Luma([u8::from((2..4).contains(&x))]));
        Mask::decode(&encoded(stripe), true).unwrap()
    }

    #[test]
    fn shares_of_boxes() {
        let mask = mask();
        assert_eq!(mask.size(), [6, 4]);
        for (corners, share) in [
            ([2.0, 0.0, 4.0, 4.0], 1.0),
            ([0.0, 0.0, 6.0, 4.0], 1.0 / 3.0),
            ([1.0, 1.0, 3.0, 2.0], 0.5),
            ([1.5, 0.25, 2.5, 0.75], 0.5),
            ([3.75, 0.0, 4.75, 4.0], 0.25),
            ([4.0, 0.0, 6.0, 4.0], 0.0),
            ([-4.0, -4.0, 3.0, 9.0], 1.0 / 3.0),
            ([3.0, 0.0, 3.0, 4.0], 0.0),
            ([4.0, 4.0, 2.0, 0.0], 0.0),
            ([7.0, 0.0, 9.0, 4.0], 0.0),
            ([f64::NAN, 0.0, 4.0, 4.0], 0.0),
            ([f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::INFINITY], 1.0 / 3.0),
        ] {
            assert!((mask.share(corners) - share).abs() < 1e-12, "{corners:?}: {}", mask.share(corners));
        }
    }

    #[test]
    fn any_colour_is_inside_and_transparency_is_none() {
        let whole = [0.0, 0.0, 2.0, 1.0];
        let share = |bytes: Vec<u8>| Mask::decode(&bytes, true).unwrap().share(whole);
        let faint = ImageBuffer::from_fn(2, 1, |x, _| Luma([x as u16]));
        assert_eq!(share(encoded(faint)), 0.5);
        let opaque = ImageBuffer::from_fn(2, 1, |x, _| Rgba([0, 0, x as u8, 255]));
        assert_eq!(share(encoded(opaque)), 0.5);
        let grey = ImageBuffer::from_fn(2, 1, |x, _| LumaA([x as u8, 255]));
        assert_eq!(share(encoded(grey)), 0.5);
        assert!(Mask::decode(b"no image", true).is_err());
    }
}
