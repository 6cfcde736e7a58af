//! What the formats of images with boxes have in common, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::AvailableSplits;

/// The side length that YOLO models are trained with.
pub(super) fn default_image_size() -> usize {
    640
}

/// A dark grey, as in YOLO.
pub(super) fn default_pad() -> f64 {
    114.0
}

/// Adds the settings of images that every format with boxes has to those of a format: around its split, and before the
/// settings of its labels.
macro_rules! with_box_images {
    (
        $(#[$about:meta])*
        pub struct $name:ident { $($settings:tt)* }
        split { $($split:tt)* }
        $(after { $($after:tt)* })?
    ) => {
        $(#[$about])*
        pub struct $name {
            $($settings)*
            /// Side length of the square images, in pixels. The longer side of a picture is scaled to it.
            #[serde(default = "crate::pipeline::boxed_images::default_image_size")]
            #[schemars(range(min = 1, max = 4096))]
            pub image_size: usize,
            /// The grey value that pads pictures to squares; 255 is white.
            #[serde(default = "crate::pipeline::boxed_images::default_pad")]
            #[schemars(range(min = 0, max = 255))]
            pub pad: f64,
            /// Mean and standard deviation of each channel: a name, or `{ mean = [r, g, b], std = [r, g, b] }`. Defaults
            /// to the statistics that the architecture was pretrained with.
            pub normalize: Option<$crate::pipeline::normalize::Normalize>,
            $($split)*
            /// What to do if an image cannot be decoded.
            #[serde(default)]
            pub broken: $crate::pipeline::data::Broken,
            /// Whether to rotate photos upright, by the orientation in their EXIF data. Boxes are those of the upright
            /// picture.
            #[serde(default = "crate::pipeline::data::default_exif_orientation")]
            pub exif_orientation: bool,
            /// What to do with transparency in PNG files.
            #[serde(default)]
            pub transparency: $crate::pipeline::data::Transparency,
            /// The stored values of black and white, such as `[0, 4095]`: pixels keep their depth and are mapped linearly
            /// to [0, 1]. Needed for TIFF files of 16 bits or floats. Without it, images are read as 8-bit RGB.
            #[schemars(extend("items" = { "type": "number" }))]
            pub range: Option<[f64; 2]>,
            /// Number of channels of each image. With another number than 3, pixels are read as they are stored.
            #[serde(default = "crate::pipeline::pixels::default_channels")]
            #[schemars(range(min = 1, max = 64))]
            pub channels: usize,
            /// The colour space of the values that the network sees: a name, or
            /// `{ kind = "log_chromaticity", from = "linear" }`.
            #[serde(default)]
            pub color: $crate::pipeline::pixels::Color,
            $($($after)*)?
        }

        impl $name {
            /// Whole pictures, padded to squares: a crop would cut objects.
            fn letterboxed(&self, split: Split) -> ImageSettings {
                ImageSettings {
                    image_size: self.image_size,
                    fit: $crate::pipeline::images::Fit::Letterbox { pad: self.pad },
                    resize: None,
                    normalize: self.normalize.clone(),
                    split,
                    broken: self.broken,
                    decode: Default::default(),
                    exif_orientation: self.exif_orientation,
                    transparency: self.transparency,
                    grey16: Default::default(),
                    range: self.range,
                    channels: self.channels,
                    color: self.color,
                    resize_rounding: Default::default(),
                }
            }
        }
    };
}

pub(super) use with_box_images;

/// What is done with objects that are marked as difficult.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Difficult {
    /// They are no targets in training, and neither hits nor misses in evaluation, as in Pascal VOC.
    #[default]
    Ignore,
    /// They are objects like all others.
    Keep,
}

impl AvailableSplits {
    /// What only the data show: a list in the data may name any split.
    pub(super) const BY_THE_DATA: Self = Self { train: true, validation: true, test: true };
}
