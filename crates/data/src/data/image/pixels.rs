//! Images in memory, of any depth and number of channels.

use image::RgbImage;

use super::Region;

/// An image.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    /// Three channels of 8 bits, for which there are fast paths.
    Rgb8(RgbImage),
    Other(Raster),
}

/// Rows of pixels with interleaved channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Raster {
    pub width: u32,
    pub height: u32,
    pub channels: usize,
    pub samples: PixelData,
}

/// [height, width, channels]
#[derive(Clone, Debug, PartialEq)]
pub enum PixelData {
    U8(Vec<u8>),
    U16(Vec<u16>),
    /// Converted integers are fractions of their full range, from 0 to 1.
    F32(Vec<f32>),
}

impl Image {
    /// Width and height in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Rgb8(image) => image.dimensions(),
            Self::Other(raster) => (raster.width, raster.height),
        }
    }

    pub fn channels(&self) -> usize {
        match self {
            Self::Rgb8(_) => 3,
            Self::Other(raster) => raster.channels,
        }
    }

    /// An image of bytes; `None` if their number is wrong.
    pub(super) fn of_bytes(
        Region { width, height, .. }: Region,
        channels: usize,
        samples: Vec<u8>,
    ) -> Option<Self> {
        if channels == 3 {
            return RgbImage::from_raw(width, height, samples).map(Self::Rgb8);
        }
        let is_whole = samples.len() == width as usize * height as usize * channels;
        is_whole.then_some(Self::Other(Raster { width, height, channels, samples: PixelData::U8(samples) }))
    }

    pub fn into_raster(self) -> Raster {
        match self {
            Self::Rgb8(image) => {
                let (width, height) = image.dimensions();
                Raster { width, height, channels: 3, samples: PixelData::U8(image.into_raw()) }
            }
            Self::Other(raster) => raster,
        }
    }

    /// The image as RGB8, to be looked at: the first three channels, or grey.
    pub fn into_visible(self) -> RgbImage {
        match self {
            Self::Rgb8(image) => image,
            Self::Other(raster) => {
                let (width, height) = (raster.width, raster.height);
                let bytes = visible_bytes(&raster.floats(Region::whole((width, height))), raster.channels);
                // A raster always has the samples of its size.
                RgbImage::from_raw(width, height, bytes).unwrap_or_default()
            }
        }
    }

    /// The image, if it is RGB8.
    pub fn into_rgb8(self) -> Option<RgbImage> {
        match self {
            Self::Rgb8(image) => Some(image),
            Self::Other(_) => None,
        }
    }
}

/// RGB8 pixels of values from 0 to 1 with interleaved channels, to be looked at: the first three channels, or grey.
/// Values outside of the range are clipped.
pub fn visible_bytes(values: &[f32], channels: usize) -> Vec<u8> {
    let byte = |value: f32| (value * 255.0).round_ties_even() as u8;
    let shown = if channels < 3 { [0; 3] } else { [0, 1, 2] };
    let pixels = values.chunks_exact(channels.max(1));
    pixels.flat_map(|pixel| shown.map(|channel| byte(pixel[channel]))).collect()
}

impl From<Raster> for Image {
    /// Three channels of 8 bits take the fast paths.
    fn from(raster: Raster) -> Self {
        match raster {
            Raster { width, height, channels: 3, samples: PixelData::U8(samples) } => {
                match RgbImage::from_raw(width, height, samples) {
                    Some(image) => Self::Rgb8(image),
                    // A raster always has the samples of its size.
                    None => Self::Rgb8(RgbImage::new(width, height)),
                }
            }
            other => Self::Other(other),
        }
    }
}

impl PixelData {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(samples) => samples.len(),
            Self::U16(samples) => samples.len(),
            Self::F32(samples) => samples.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Raster {
    /// An image of another size. Each pixel (x, y) is copied from `source(x, y)`, or zero if that is `None`.
    pub fn gathered(&self, size: (u32, u32), source: impl Fn(u32, u32) -> Option<(u32, u32)>) -> Self {
        self.gathered_on(0.0, size, source)
    }

    /// As `gathered`, with another value than zero where there is no source. It is for floats; integers are zero.
    pub fn gathered_on(
        &self,
        background: f32,
        (width, height): (u32, u32),
        source: impl Fn(u32, u32) -> Option<(u32, u32)>,
    ) -> Self {
        fn gather<T: Copy>(
            samples: &[T],
            background: T,
            channels: usize,
            pixels: impl Iterator<Item = Option<usize>>,
        ) -> Vec<T> {
            let mut gathered = Vec::new();
            for pixel in pixels {
                match pixel {
                    Some(pixel) => gathered.extend_from_slice(&samples[pixel * channels..][..channels]),
                    None => gathered.extend(std::iter::repeat_n(background, channels)),
                }
            }
            gathered
        }
        let (channels, stride) = (self.channels, self.width as usize);
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels = places.map(|(x, y)| source(x, y).map(|(x, y)| y as usize * stride + x as usize));
        let samples = match &self.samples {
            PixelData::U8(samples) => PixelData::U8(gather(samples, 0, channels, pixels)),
            PixelData::U16(samples) => PixelData::U16(gather(samples, 0, channels, pixels)),
            PixelData::F32(samples) => PixelData::F32(gather(samples, background, channels, pixels)),
        };
        Self { width, height, channels, samples }
    }

    /// All samples as floats, like [`Raster::floats`]. Those that are floats are not copied.
    pub fn into_floats(self) -> Vec<f32> {
        match self.samples {
            PixelData::F32(samples) => samples,
            _ => self.floats(Region::whole((self.width, self.height))),
        }
    }

    /// The samples of a region as floats; integers become fractions of their full range.
    pub fn floats(&self, region: Region) -> Vec<f32> {
        fn rows<T: Copy>(
            samples: &[T],
            (start, stride): (usize, usize),
            (length, height): (usize, usize),
            float: impl Fn(T) -> f32,
        ) -> Vec<f32> {
            let rows = (0..height).map(|y| &samples[start + y * stride..][..length]);
            rows.flatten().map(|&sample| float(sample)).collect()
        }
        let stride = self.width as usize * self.channels;
        let start = region.top as usize * stride + region.left as usize * self.channels;
        let (from, size) = ((start, stride), (region.width as usize * self.channels, region.height as usize));
        match &self.samples {
            PixelData::U8(samples) => rows(samples, from, size, |sample| f32::from(sample) / 255.0),
            PixelData::U16(samples) => rows(samples, from, size, |sample| f32::from(sample) / 65535.0),
            PixelData::F32(samples) => rows(samples, from, size, |sample| sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_any_depth_can_be_looked_at() {
        let shown = |channels, samples| {
            Image::Other(Raster { width: 2, height: 1, channels, samples }).into_visible().into_raw()
        };
        assert_eq!(shown(1, PixelData::F32(vec![-0.5, 1.5])), [0, 0, 0, 255, 255, 255]);
        assert_eq!(shown(2, PixelData::U16(vec![65535, 1, 257, 1])), [255, 255, 255, 1, 1, 1]);
        assert_eq!(shown(4, PixelData::U8((1..=8).collect())), [1, 2, 3, 5, 6, 7]);
        let nan = shown(3, PixelData::F32(vec![f32::NAN, 0.5, 1.0, 0.2, 0.4, 0.6]));
        assert_eq!(nan, [0, 128, 255, 51, 102, 153]);
    }

    #[test]
    fn pixels_are_gathered_and_converted_whatever_their_depth() {
        let raster = |samples| Raster { width: 2, height: 2, channels: 2, samples };
        let flip = |x: u32, y: u32| (y < 2).then_some((1 - x, y));
        for (samples, full) in [
            (PixelData::U8((1..=8).collect()), 255.0),
            (PixelData::U16((1..=8).collect()), 65535.0),
            (PixelData::F32((1..=8).map(|sample| sample as f32).collect()), 1.0),
        ] {
            let gathered = raster(samples).gathered((2, 3), flip);
            assert_eq!((gathered.width, gathered.height, gathered.channels), (2, 3, 2));
            let all = gathered.floats(Region { left: 0, top: 0, width: 2, height: 3 });
            let expected = [3, 4, 1, 2, 7, 8, 5, 6, 0, 0, 0, 0].map(|sample| sample as f32 / full);
            assert_eq!(all, expected);
            let part = gathered.floats(Region { left: 1, top: 1, width: 1, height: 2 });
            assert_eq!(part, [5.0 / full, 6.0 / full, 0.0, 0.0]);
        }
    }
}
