//! What a train stage is made of: optimizer, schedule, groups, augmentation, stopping.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The optimizer of a train stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Optimizer {
    Sgd(Sgd),
    Adamw(AdamW),
}

/// Stochastic gradient descent with momentum, as PyTorch's `SGD`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// The share of the last update that is kept.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub momentum: f64,
    /// Nesterov's momentum; needs `momentum` above 0.
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay, added to the gradient (L2).
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Parameters without weight decay, such as `["@norm", "@bias"]`.
    #[serde(default)]
    pub no_decay: Vec<String>,
}

/// AdamW: Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (ICLR 2019), as PyTorch's `AdamW`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// Decay of the running averages of the gradient and of its square.
    #[serde(default = "default_betas")]
    #[schemars(extend("items" = { "type": "number", "minimum": 0, "exclusiveMaximum": 1 }))]
    pub betas: [f64; 2],
    /// Added to the denominator.
    #[serde(default = "default_eps")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default = "default_weight_decay")]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Parameters without weight decay, such as `["@norm", "@bias"]`.
    #[serde(default)]
    pub no_decay: Vec<String>,
}

fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn default_eps() -> f64 {
    1e-8
}

fn default_weight_decay() -> f64 {
    1e-2
}

/// How the learning rate moves over a stage; set per optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    Constant(Constant),
    Cosine(Cosine),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant(Constant { warmup_epochs: 0.0 })
    }
}

/// The same learning rate throughout, after the warmup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// Epochs over which the learning rate rises linearly from 0; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
}

/// Half a cosine from the learning rate down to `final_scale` times it: Loshchilov and Hutter, *SGDR* (ICLR 2017), §3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// Epochs over which the learning rate rises linearly from 0; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// The learning rate at the end, as a share of the full one.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub final_scale: f64,
}

/// The loss of a train stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Loss {
    CrossEntropy(CrossEntropy),
}

impl Default for Loss {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropy { label_smoothing: 0.0 })
    }
}

/// Softmax cross-entropy, averaged over the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossEntropy {
    /// The share of each target spread evenly over all classes (Szegedy et al. 2016, §7).
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub label_smoothing: f64,
}

/// Parameters with a learning rate or weight decay of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Patterns over parameter names.
    #[serde(rename = "match")]
    #[schemars(length(min = 1))]
    pub patterns: Vec<String>,
    /// The learning rate of this group. Either this or `lr_scale`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: Option<f64>,
    /// The learning rate of this group as a multiple of the optimizer's.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr_scale: Option<f64>,
    /// The weight decay of this group.
    #[schemars(range(min = 0))]
    pub weight_decay: Option<f64>,
}

/// What batch normalisation does in a train stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormPolicy {
    /// Frozen layers use their running statistics and never update them; trainable ones train.
    #[default]
    Follow,
    /// Every layer uses its running statistics; none is updated.
    Eval,
    /// Every layer uses the batch's statistics and updates its running ones, frozen or not.
    Train,
}

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

/// How the features of the frozen layers are kept: their output for each image, computed once and used in every epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// The numbers they are kept in: `bf16` takes half the space of `f32`, and rounds.
    #[serde(default)]
    pub dtype: FeatureType,
    /// How many augmented views of each training image are kept, one for each epoch in turn: epoch 1 sees the first.
    #[schemars(range(min = 1))]
    pub views: Option<u32>,
}

/// The numbers that features are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureType {
    #[default]
    F32,
    Bf16,
}

impl FeatureType {
    /// What a number takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// What `@best` and early stopping look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Monitor {
    #[default]
    #[serde(rename = "validation/loss")]
    ValidationLoss,
    #[serde(rename = "validation/accuracy")]
    ValidationAccuracy,
    #[serde(rename = "validation/macro_f1")]
    ValidationMacroF1,
}

/// Ends a stage when the monitor has not improved for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// Epochs without improvement after which the stage ends.
    #[schemars(range(min = 1))]
    pub patience: u32,
    /// The least change that counts as an improvement.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub min_delta: f64,
}
