//! Random changes that detectors are trained with: mosaic, affine and HSV.
//!
//! The defaults are those of YOLO11.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::augment::always;

/// Four images around a point: the image itself and three others, drawn from all training images by their index in
/// the order of their paths. Adding a photo therefore changes which photos a mosaic shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mosaic {
    /// Probability that an image is a mosaic.
    #[serde(default = "always")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub probability: f64,
}

/// A random affine map, around the centre of the image or of the mosaic. Pixels are interpolated bilinearly; the border
/// has the padding value.
///
/// A box is dropped if a side of it is at most 2 pixels, if a tenth or less of its area in the mosaic is visible, or if
/// it is 100 times longer than wide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Largest rotation in degrees, in either direction.
    #[serde(default)]
    #[schemars(range(min = 0, max = 180))]
    pub degrees: f64,
    /// Largest shift, as a fraction of `image_size`, in each direction.
    #[serde(default = "default_translate")]
    #[schemars(range(min = 0, max = 1))]
    pub translate: f64,
    /// The scale is drawn from [1 − x, 1 + x].
    #[serde(default = "default_affine_scale")]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub scale: f64,
    /// Largest shear in degrees, in either direction along each axis.
    #[serde(default)]
    #[schemars(range(min = 0, max = 45))]
    pub shear: f64,
}

impl Affine {
    /// The map that only centres an image.
    pub const CENTRED: Self = Self { degrees: 0.0, translate: 0.0, scale: 0.0, shear: 0.0 };
}

fn default_translate() -> f64 {
    0.1
}

fn default_affine_scale() -> f64 {
    0.5
}

/// Shifts the hue and scales saturation and value, each by its own draw. 8-bit images are converted as OpenCV does.
/// Images without RGB colours have neither hue nor saturation: set both to 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hsv {
    /// Largest hue shift; 1 is the whole colour circle.
    #[serde(default = "default_hue")]
    #[schemars(range(min = 0, max = 1))]
    pub hue: f64,
    /// The saturation is multiplied by a factor from [1 − x, 1 + x].
    #[serde(default = "default_saturation")]
    #[schemars(range(min = 0, max = 1))]
    pub saturation: f64,
    /// The value is multiplied by a factor from [1 − x, 1 + x].
    #[serde(default = "default_value")]
    #[schemars(range(min = 0, max = 1))]
    pub value: f64,
}

fn default_hue() -> f64 {
    0.015
}

fn default_saturation() -> f64 {
    0.7
}

fn default_value() -> f64 {
    0.4
}
