//! What the formats of images with boxes have in common, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::{AvailableSplits, Broken, Decode, Grey16, ResizeRounding, Split, Transparency};
use super::images::{Fit, ImageSettings};
use super::normalize::Normalize;
use super::pixels::Color;

/// The side length that YOLO models are trained with.
pub(super) fn default_box_image_size() -> usize {
    640
}

/// A dark grey, as in YOLO.
pub(super) fn default_pad() -> f64 {
    114.0
}

/// The settings of pixels that every format with boxes writes.
pub(super) struct BoxedImageSettings<'a> {
    pub image_size: usize,
    pub pad: f64,
    pub normalize: &'a Option<Normalize>,
    pub split: Split,
    pub broken: Broken,
    pub exif_orientation: bool,
    pub transparency: Transparency,
    pub range: Option<[f64; 2]>,
    pub channels: usize,
    pub color: Color,
}

impl BoxedImageSettings<'_> {
    /// Whole pictures, padded to squares: a crop would cut objects.
    pub fn letterboxed(self) -> ImageSettings {
        ImageSettings {
            image_size: self.image_size,
            fit: Fit::Letterbox { pad: self.pad },
            resize: None,
            normalize: self.normalize.clone(),
            split: self.split,
            broken: self.broken,
            decode: Decode::default(),
            exif_orientation: self.exif_orientation,
            transparency: self.transparency,
            grey16: Grey16::default(),
            range: self.range,
            channels: self.channels,
            color: self.color,
            resize_rounding: ResizeRounding::default(),
        }
    }
}

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
    pub(super) const BY_THE_DATA: Self = Self { validation: true, test: true };
}
