//! What else a train stage is made of: batch normalisation, features, what it watches, when it stops.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The numbers that a training step computes with. GPUs round what they multiply to 10 bits of mantissa in `tf32`; in `bf16`,
/// activations and their gradients have 8. Weights, statistics, sums and the optimizer are in f32 whatever this says, and so
/// is all that is not a training step: frozen layers ahead of the trainable ones, validation, evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    #[default]
    F32,
    Tf32,
    Bf16,
}

impl Precision {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
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
    // The mean average precision, of images with any number of labels.
    #[serde(rename = "validation/map")]
    ValidationMap,
}

impl Monitor {
    /// The validation score that it looks at.
    pub fn score(self) -> &'static str {
        match self {
            Self::ValidationLoss => "loss",
            Self::ValidationAccuracy => "accuracy",
            Self::ValidationMacroF1 => "macro_f1",
            Self::ValidationMap => "map",
        }
    }

    /// How much better `value` is than `than`.
    pub fn gain(self, value: f64, than: f64) -> f64 {
        match self {
            Self::ValidationLoss => than - value,
            Self::ValidationAccuracy | Self::ValidationMacroF1 | Self::ValidationMap => value - than,
        }
    }
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

/// An exponential moving average of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// The share of the average that each optimizer step leaves.
    #[serde(default = "default_decay")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub decay: f64,
    /// Begins with a smaller share, (1 + step) / (10 + step), so that the first weights do not weigh for long.
    #[serde(default = "default_warmup")]
    pub warmup: bool,
}

fn default_decay() -> f64 {
    0.999
}

fn default_warmup() -> bool {
    true
}
