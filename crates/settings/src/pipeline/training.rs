//! Other settings of a train stage: batch normalisation, features, the monitored metric, early stopping.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::label_kind::LabelKind;
use super::stage::Train;

impl Train {
    /// Why the first epochs of a longer stage differ from those of this one; `None` if they are the same.
    pub fn depends_on_epochs(&self) -> Option<&'static str> {
        let closes = self.augment.close_mosaic > 0
            && (self.augment.mosaic.is_some()
                || self.augment.mixup.is_some() && self.loss.label_kind() == LabelKind::Boxes);
        match self.schedule.settings().depends_on_epochs() {
            true => Some("its schedule ends with the last epoch"),
            false => closes.then_some("`close_mosaic` counts from the last epoch"),
        }
    }
}

/// How batch normalisation behaves in a train stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormPolicy {
    /// Frozen layers use their running statistics and do not update them; trainable layers are in training mode.
    #[default]
    Follow,
    /// All layers use their running statistics; none updates them.
    Eval,
    /// All layers use the batch's statistics and update their running statistics, frozen or not.
    Train,
}

/// How the features of the frozen layers are kept: their output for each image, computed once and used in every epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// The number format of the stored features. `bf16` takes half the space of `f32`, but rounds.
    #[serde(default)]
    pub dtype: FeatureType,
    /// Number of augmented views that are kept of each training image. Epochs use them in turn: epoch 1 uses the first.
    #[schemars(range(min = 1))]
    pub views: Option<u32>,
}

/// The number format of stored features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureType {
    #[default]
    F32,
    Bf16,
}

impl FeatureType {
    /// Bytes per number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// The number format of training steps. With `tf32`, GPUs round the factors of products to 10 bits of mantissa. With
/// `bf16`, activations and their gradients have 8; with `f16` they have 11 and a smaller range, and the loss is scaled.
/// Weights, statistics, sums and the optimizer state are always f32, and so is everything outside training steps: frozen
/// layers below the trainable ones, validation and evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    #[default]
    F32,
    Tf32,
    Bf16,
    F16,
}

impl Precision {
    /// As written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// The metric that selects `@best` and drives early stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Monitor {
    #[default]
    #[serde(rename = "validation/loss")]
    ValidationLoss,
    #[serde(rename = "validation/accuracy")]
    ValidationAccuracy,
    #[serde(rename = "validation/macro_f1")]
    ValidationMacroF1,
    // Mean average precision, of each class or label against the others.
    #[serde(rename = "validation/map")]
    ValidationMap,
    // Mean area under the ROC curve, of each class or label against the others.
    #[serde(rename = "validation/auc")]
    ValidationAuc,
    // The fraction of images whose nearest other image, by embeddings, is of their class.
    #[serde(rename = "validation/rank1")]
    ValidationRank1,
    // COCO's average precision of boxes, at IoU thresholds from 0.50 to 0.95 and at single ones.
    #[serde(rename = "validation/ap50_95")]
    ValidationAp50To95,
    #[serde(rename = "validation/ap50")]
    ValidationAp50,
    #[serde(rename = "validation/ap75")]
    ValidationAp75,
    // Of objects by their area: up to 32², up to 96² pixels of the picture, and above.
    #[serde(rename = "validation/ap_small")]
    ValidationApSmall,
    #[serde(rename = "validation/ap_medium")]
    ValidationApMedium,
    #[serde(rename = "validation/ap_large")]
    ValidationApLarge,
    // At the confidence that is best for boxes of all classes.
    #[serde(rename = "validation/precision")]
    ValidationPrecision,
    #[serde(rename = "validation/recall")]
    ValidationRecall,
    #[serde(rename = "validation/f1")]
    ValidationF1,
}

impl Monitor {
    /// The validation score to monitor.
    pub fn score(self) -> &'static str {
        match self {
            Self::ValidationLoss => "loss",
            Self::ValidationAccuracy => "accuracy",
            Self::ValidationMacroF1 => "macro_f1",
            Self::ValidationMap => "map",
            Self::ValidationAuc => "auc",
            Self::ValidationRank1 => "rank1",
            Self::ValidationAp50To95 => "ap50_95",
            Self::ValidationAp50 => "ap50",
            Self::ValidationAp75 => "ap75",
            Self::ValidationApSmall => "ap_small",
            Self::ValidationApMedium => "ap_medium",
            Self::ValidationApLarge => "ap_large",
            Self::ValidationPrecision => "precision",
            Self::ValidationRecall => "recall",
            Self::ValidationF1 => "f1",
        }
    }

    /// By how much `value` is better than `than`.
    pub fn improvement(self, value: f64, than: f64) -> f64 {
        if self.lower_is_better() { than - value } else { value - than }
    }

    /// Whether it is a loss.
    pub fn lower_is_better(self) -> bool {
        self == Self::ValidationLoss
    }
}

/// Ends a stage when the monitored metric stops improving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// Epochs without improvement after which the stage ends.
    #[schemars(range(min = 1))]
    pub patience: u32,
    /// The smallest change that counts as an improvement.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub min_delta: f64,
}

/// An exponential moving average of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// The decay of the average: the fraction of it that remains after each optimizer step.
    #[serde(default = "default_decay")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub decay: f64,
    /// Starts with a smaller decay, (1 + step) / (10 + step), so that the initial weights lose their influence soon.
    #[serde(default = "default_warmup")]
    pub warmup: bool,
    /// Steps over which the decay grows, in place of the warmup's formula: it is `decay` · (1 − exp(−step /
    /// `time_constant`)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub time_constant: Option<f64>,
}

/// Where biases and momentum start in the warmup of the schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmupStart {
    /// The learning rate of biases at the start. It moves linearly to their full rate. By default, biases start with the
    /// rate of all others.
    #[schemars(range(min = 0))]
    pub bias_lr: Option<f64>,
    /// The momentum of SGD at the start. It moves linearly to the optimizer's. Constant by default.
    #[schemars(range(min = 0, max = 1))]
    pub momentum: Option<f64>,
}

fn default_decay() -> f64 {
    0.999
}

fn default_warmup() -> bool {
    true
}
