//! Random changes to training images, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::composition::{Affine, Hsv, Mosaic};

/// Random changes to training images, applied in this order: crop, or mosaic and affine; mixup of images with boxes;
/// flips, rotation, hsv, color jitter, greyscale, blur, RandAugment, normalisation, erasing, mixing of other images,
/// multi-scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Crops a random region and resizes it to `image_size`. Without it, training images are resized and centre-cropped
    /// as in evaluation.
    pub random_resized_crop: Option<RandomResizedCrop>,
    /// Probability of a left-right flip.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub horizontal_flip: f64,
    /// Probability of a top-bottom flip.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub vertical_flip: f64,
    /// Largest rotation in degrees, in either direction.
    #[serde(default)]
    #[schemars(range(min = 0, max = 180))]
    pub rotation: f64,
    /// Random brightness, contrast, saturation and hue.
    pub color_jitter: Option<ColorJitter>,
    /// Probability that an image becomes grey.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 1))]
    pub grayscale: f64,
    /// Blurs images with a Gaussian of random width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gaussian_blur: Option<GaussianBlur>,
    /// Applies a few random operations from a fixed list, all with the same magnitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Erases a random rectangle of each image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_erasing: Option<RandomErasing>,
    /// Blends each image, and its label, with another image of the batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixup: Option<Mixup>,
    /// Replaces a rectangle of each image by the same rectangle of another image of the batch, and mixes the labels by
    /// area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<Cutmix>,
    /// Puts four training images around a random point and shows the part around it. Needs a data set with boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mosaic: Option<Mosaic>,
    /// Number of last epochs of the stage without `mosaic`, and without `mixup` of images with boxes. The last epochs
    /// then show whole images, as validation does.
    #[serde(default = "default_close_mosaic", skip_serializing_if = "is_default_close_mosaic")]
    pub close_mosaic: u32,
    /// Moves, scales, rotates and shears the whole image on a padded square. Without `mosaic`, the longer side of an
    /// image is resized to `image_size` before, and nothing is cropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affine: Option<Affine>,
    /// Random hue, saturation and value, as detectors are trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsv: Option<Hsv>,
    /// Resizes each batch to a random size: a multiple of 32 between (1 − x) and (1 + x) times `image_size`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub multi_scale: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            random_resized_crop: None,
            horizontal_flip: 0.0,
            vertical_flip: 0.0,
            rotation: 0.0,
            color_jitter: None,
            grayscale: 0.0,
            gaussian_blur: None,
            rand_augment: None,
            random_erasing: None,
            mixup: None,
            cutmix: None,
            mosaic: None,
            close_mosaic: default_close_mosaic(),
            affine: None,
            hsv: None,
            multi_scale: 0.0,
        }
    }
}

impl Augment {
    /// Whether images are mixed with others, so that an image no longer has one class.
    pub fn mixes(&self) -> bool {
        self.mixup.is_some() || self.cutmix.is_some()
    }

    /// Whether features of the images cannot be kept, not even of views: images are composed, or depend on other images, on
    /// the epoch or on their batch.
    pub fn composes(&self) -> bool {
        self.mixes() || self.mosaic.is_some() || self.affine.is_some() || self.multi_scale > 0.0
    }
}

fn default_close_mosaic() -> u32 {
    10
}

fn is_default_close_mosaic(epochs: &u32) -> bool {
    *epochs == default_close_mosaic()
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_one(number: &f64) -> bool {
    *number == 1.0
}

/// Same as torchvision's `RandomResizedCrop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Smallest and largest area of the crop, as a fraction of the image.
    #[serde(default = "default_scale")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0, "maximum": 1 }))]
    pub scale: [f64; 2],
    /// Smallest and largest ratio of width to height.
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

/// Same as torchvision's `ColorJitter`: factors are drawn from [1 − x, 1 + x], hue shifts from [−x, x].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColorJitter {
    /// Largest change of the brightness factor.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub brightness: f64,
    /// Largest change of the contrast factor.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub contrast: f64,
    /// Largest change of the saturation factor.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub saturation: f64,
    /// Largest hue shift; 0.5 is half of the colour circle.
    #[serde(default)]
    #[schemars(range(min = 0, max = 0.5))]
    pub hue: f64,
    /// Probability that an image is changed at all.
    #[serde(default = "always", skip_serializing_if = "is_one")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub probability: f64,
}

/// Same pixels as torchvision's `GaussianBlur`, with a kernel that ends at three standard deviations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GaussianBlur {
    /// Probability that an image is blurred.
    #[serde(default = "default_probability")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub probability: f64,
    /// Smallest and largest standard deviation, in pixels of the network's input.
    #[serde(default = "default_sigma")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0, "maximum": 100 }))]
    pub sigma: [f64; 2],
}

fn default_sigma() -> [f64; 2] {
    [0.1, 2.0]
}

/// Same as torchvision's `RandAugment` on PIL images (Cubuk et al. 2020): operations are drawn uniformly from a list of
/// 14.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// Number of operations, applied one after the other.
    #[serde(default = "default_num_ops")]
    #[schemars(range(min = 1))]
    pub num_ops: u32,
    /// Magnitude of the operations; must be less than `num_magnitude_bins`.
    #[serde(default = "default_magnitude")]
    pub magnitude: u32,
    /// Number of magnitudes, from 0 to the strongest.
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

/// Same as torchvision's `RandomErasing` after `Normalize` (Zhong et al. 2020).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomErasing {
    /// Probability that a rectangle is erased.
    #[serde(default = "default_probability")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub probability: f64,
    /// Smallest and largest area of the rectangle, as a fraction of the image.
    #[serde(default = "default_erased")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0, "maximum": 1 }))]
    pub scale: [f64; 2],
    /// Smallest and largest ratio of height to width.
    #[serde(default = "default_erased_ratio")]
    #[schemars(extend("items" = { "type": "number", "exclusiveMinimum": 0 }))]
    pub ratio: [f64; 2],
    /// What the rectangle is filled with.
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

/// What an erased rectangle is filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasedValue {
    /// The `mean` of `normalize`, which is 0 after normalisation.
    #[default]
    Mean,
    /// Normal noise, drawn for each value.
    Random,
}

/// Zhang et al. 2018, *mixup: Beyond Empirical Risk Minimization*. If `cutmix` is set too, each image gets one of the
/// two, with equal probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixup {
    /// The weight of the image itself is drawn from Beta(alpha, alpha). With a small alpha, images stay almost whole;
    /// with 1, all weights are equally likely; with a large alpha, both images are about equally visible. Detectors
    /// are trained with 32: images with boxes keep all boxes of both.
    #[serde(default = "default_mixup")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
    /// Probability that an image is mixed.
    #[serde(default = "always", skip_serializing_if = "is_one")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub probability: f64,
}

pub(super) fn always() -> f64 {
    1.0
}

fn default_mixup() -> f64 {
    0.2
}

/// Yun et al. 2019, *CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cutmix {
    /// The fraction of the area that stays is drawn from Beta(alpha, alpha).
    #[serde(default = "default_cutmix")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
}

fn default_cutmix() -> f64 {
    1.0
}
