//! How images become tensors.

use serde::Serialize;

use super::is_default;
use crate::pipeline::{
    Broken, Color, Decode, Fit, Grey16, ImageSettings, Normalize, RGB_CHANNELS, ResizeRounding, Transparency,
};
use crate::stage::Preprocess;

/// How images become tensors. Splits are left out: the recipe has the images that they select.
#[derive(Serialize)]
pub struct PreprocessRecipe {
    image_size: usize,
    resize: Option<usize>,
    #[serde(skip_serializing_if = "is_default")]
    fit: Fit,
    normalize: Normalize,
    /// None where the record is of images that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<Broken>,
    decode: Decode,
    /// `false` where it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    exif_orientation: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    transparency: Transparency,
    #[serde(skip_serializing_if = "is_default")]
    grey16: Grey16,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[f64; 2]>,
    /// Other than red, green and blue.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<usize>,
    #[serde(skip_serializing_if = "is_default")]
    color: Color,
    #[serde(skip_serializing_if = "is_default")]
    resize_rounding: ResizeRounding,
}

impl PreprocessRecipe {
    /// Of features: whether an image that cannot be read is an error does not change those that can.
    pub fn of_features(preprocess: &Preprocess) -> Self {
        Self { broken: None, ..Self::of(preprocess) }
    }

    pub fn of(preprocess: &Preprocess) -> Self {
        let ImageSettings {
            split: _,
            image_size,
            fit,
            resize,
            normalize,
            broken,
            decode,
            exif_orientation,
            transparency,
            grey16,
            range,
            channels,
            color,
            resize_rounding,
        } = preprocess.0.clone();
        Self {
            image_size,
            resize,
            fit,
            normalize: normalize.unwrap_or_default(),
            broken: Some(broken),
            decode,
            exif_orientation: (!exif_orientation).then_some(false),
            transparency,
            grey16,
            range,
            channels: (channels != RGB_CHANNELS).then_some(channels),
            color,
            resize_rounding,
        }
    }
}
