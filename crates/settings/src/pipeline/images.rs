//! How the images of a data set are split and become tensors: the same settings for every data format.

use serde::{Deserialize, Serialize};

use super::data::{
    Broken, Decode, Grey16, ResizeRounding, Split, Transparency, default_exif_orientation, default_image_size,
};
use super::normalize::Normalize;
use super::pixels::{Color, RGB_CHANNELS, default_channels, is_rgb};

/// The settings of images that every data format has. A format writes its own; the rest of the program reads these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// Side length of the square images, in pixels.
    #[serde(default = "default_image_size")]
    pub image_size: usize,
    /// How pictures of any shape become squares.
    #[serde(default, skip_serializing_if = "Fit::is_default")]
    pub fit: Fit,
    /// Length of the shorter side before the centre crop, in pixels. Defaults to `image_size` / 0.875.
    pub resize: Option<usize>,
    /// Mean and standard deviation of each channel; `None` for those of the architecture.
    pub normalize: Option<Normalize>,
    #[serde(default)]
    pub split: Split,
    #[serde(default)]
    pub broken: Broken,
    #[serde(default)]
    pub decode: Decode,
    #[serde(default = "default_exif_orientation")]
    pub exif_orientation: bool,
    #[serde(default)]
    pub transparency: Transparency,
    #[serde(default)]
    pub grey16: Grey16,
    /// The stored values of black and white, for pixels that keep their depth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    #[serde(default = "default_channels", skip_serializing_if = "is_rgb")]
    pub channels: usize,
    #[serde(default, skip_serializing_if = "Color::is_default")]
    pub color: Color,
    #[serde(default)]
    pub resize_rounding: ResizeRounding,
}

impl ImageSettings {
    /// Mean and standard deviation of each channel.
    pub fn statistics(&self) -> Vec<(f64, f64)> {
        let normalize = self.normalize.clone().unwrap_or_default();
        let Normalize { mean, std } = normalize.of_channels(self.channels).unwrap_or(normalize);
        mean.into_iter().zip(std).collect()
    }

    /// The length of the shorter side before the centre crop of this size.
    pub fn shorter_side(&self, image_size: usize) -> usize {
        self.resize.unwrap_or_else(|| self.resize_rounding.round(image_size * 8, 7))
    }

    /// Whether pixels keep the depth and the channels of their files, instead of becoming 8-bit RGB.
    pub fn keeps_depth(&self) -> bool {
        self.range.is_some() || self.channels != RGB_CHANNELS || !self.color.is_default()
    }
}

/// How pictures of any shape become squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fit {
    /// Scales the shorter side, then crops the central square.
    #[default]
    CentreCrop,
    /// Scales the longer side, then pads the picture to a square. `pad` is the value around it, where 255 is full range:
    /// the white of `range`. In log-chromaticity, 127.5 is grey.
    Letterbox { pad: f64 },
}

impl Fit {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
