//! Random changes to training images, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Random changes to training images, in this order: crop, flips, rotation, color jitter, RandAugment, and behind
/// normalisation erasing, then mixing.
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
    /// A few changes drawn from a fixed list, all of one strength.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// A rectangle that is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_erasing: Option<RandomErasing>,
    /// Each image blended with another of its batch, and its class with that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixup: Option<Mixup>,
    /// A rectangle of each image replaced by that of another of its batch, and its class as much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<Cutmix>,
}

impl Augment {
    /// Whether images are mixed with others, and no longer of one class.
    pub fn mixes(&self) -> bool {
        self.mixup.is_some() || self.cutmix.is_some()
    }
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

/// As torchvision's `RandAugment` on PIL images (Cubuk et al. 2020): of 14 changes of place, colour and tone, each as
/// likely as the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// How many changes are made, one after the other.
    #[serde(default = "default_num_ops")]
    #[schemars(range(min = 1))]
    pub num_ops: u32,
    /// The strength of the changes, below `num_magnitude_bins`.
    #[serde(default = "default_magnitude")]
    pub magnitude: u32,
    /// How many strengths there are, from 0 to the strongest.
    #[serde(default = "default_bins")]
    #[schemars(range(min = 2))]
    pub num_magnitude_bins: u32,
}

fn default_num_ops() -> u32 {
    2
}

fn default_magnitude() -> u32 {
    9
}

fn default_bins() -> u32 {
    31
}

/// As torchvision's `RandomErasing` behind its `Normalize` (Zhong et al. 2020).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomErasing {
    /// The probability that something is erased.
    #[serde(default = "default_probability")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub probability: f64,
    /// Smallest and largest share of the area.
    #[serde(default = "default_erased")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0, "maximum": 1 }))]
    pub scale: [f64; 2],
    /// Narrowest and widest ratio of height to width.
    #[serde(default = "default_erased_ratio")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0 }))]
    pub ratio: [f64; 2],
    /// What stands there instead.
    #[serde(default)]
    pub value: ErasedValue,
}

fn default_probability() -> f64 {
    0.5
}

fn default_erased() -> [f64; 2] {
    [0.02, 0.33]
}

fn default_erased_ratio() -> [f64; 2] {
    [0.3, 3.3]
}

/// What stands in an erased rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasedValue {
    /// The mean of `normalize`: zero, behind normalisation.
    #[default]
    Mean,
    /// Normal noise, drawn for each number.
    Random,
}

/// Zhang et al. 2018, *mixup: Beyond Empirical Risk Minimization*. Where `cutmix` is there too, each image gets one of
/// the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixup {
    /// The image's own share is drawn from Beta(alpha, alpha): small for almost whole images, 1 for any share alike.
    #[serde(default = "default_mixup")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
}

fn default_mixup() -> f64 {
    0.2
}

/// Yun et al. 2019, *CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutmix {
    /// The share of the area that stays is drawn from Beta(alpha, alpha).
    #[serde(default = "default_cutmix")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
}

fn default_cutmix() -> f64 {
    1.0
}
