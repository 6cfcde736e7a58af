//! Random changes to training images, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Random changes to training images, in this order: crop, flips, rotation, color jitter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// A random part of the image, resized to the full size; without it, the evaluation's resize and centre crop.
    pub random_resized_crop: Option<RandomResizedCrop>,
    /// The probability of a left-right flip.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub horizontal_flip: f64,
    /// The probability of a top-bottom flip.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub vertical_flip: f64,
    /// The largest rotation in degrees, either way.
    #[serde(default)]
    #[schemars(range(min = 0, max = 180))]
    pub rotation: f64,
    /// Random brightness, contrast, saturation and hue.
    pub color_jitter: Option<ColorJitter>,
}

/// As torchvision's `RandomResizedCrop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Smallest and largest share of the area.
    #[serde(default = "default_scale")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0, "maximum": 1 }))]
    pub scale: [f64; 2],
    /// Narrowest and widest ratio of width to height.
    #[serde(default = "default_ratio")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0 }))]
    pub ratio: [f64; 2],
}

fn default_scale() -> [f64; 2] {
    [0.08, 1.0]
}

fn default_ratio() -> [f64; 2] {
    [0.75, 4.0 / 3.0]
}

/// As torchvision's `ColorJitter`: factors drawn from [1 − x, 1 + x], hue shifts from [−x, x].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColorJitter {
    /// How far brightness may move.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub brightness: f64,
    /// How far contrast may move.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub contrast: f64,
    /// How far saturation may move.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub saturation: f64,
    /// How far the hue may turn; 0.5 is half the colour circle.
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.5))]
    pub hue: f64,
}
