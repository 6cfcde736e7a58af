//! Losses, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::class_weights::ClassWeights;

/// The loss of a train stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Loss {
    CrossEntropy(CrossEntropy),
    Focal(Focal),
    Arcface(Arcface),
    Cosface(Cosface),
    Bce(Bce),
}

impl Default for Loss {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropy { label_smoothing: 0.0, class_weights: None })
    }
}

impl Loss {
    /// The class weights, if there are any.
    pub fn class_weights(&self) -> Option<&ClassWeights> {
        match self {
            Self::CrossEntropy(CrossEntropy { class_weights, .. })
            | Self::Focal(Focal { class_weights, .. })
            | Self::Arcface(Arcface { class_weights, .. })
            | Self::Cosface(Cosface { class_weights, .. }) => class_weights.as_ref(),
            Self::Bce(_) => None,
        }
    }

    /// Whether it is a multi-label loss.
    pub fn is_multi_label(&self) -> bool {
        matches!(self, Self::Bce(_))
    }

    /// Whether it adds a margin to cosines, which only an embedding head computes.
    pub fn needs_cosines(&self) -> bool {
        matches!(self, Self::Arcface(_) | Self::Cosface(_))
    }
}

/// Softmax cross-entropy, averaged over the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossEntropy {
    /// The part of each target that is spread evenly over all classes (Szegedy et al. 2016, §7).
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub label_smoothing: f64,
    /// The weight of each class: a table by class name, or `"balanced"`. The loss is the weighted mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

/// Cross-entropy that gives less weight to images that are classified well: times (1 − p)^gamma (Lin et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Focal {
    /// Higher values reduce that weight further; 0 is cross-entropy.
    #[serde(default = "default_gamma")]
    #[schemars(range(min = 0))]
    pub gamma: f64,
    /// The weight of each class (the paper's α): a table by class name, or `"balanced"`. The loss is the weighted mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

fn default_gamma() -> f64 {
    2.0
}

/// Cross-entropy with a margin on the angle to the true class (Deng et al. 2019). Needs an embedding head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arcface {
    /// The margin that is added to the angle, in radians.
    #[serde(default = "default_angle")]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.57))]
    pub margin: f64,
    /// Adds no margin where the cosine is below 0.
    #[serde(default)]
    pub easy_margin: bool,
    /// The weight of each class: a table by class name, or `"balanced"`. The loss is the weighted mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

fn default_angle() -> f64 {
    0.5
}

/// Cross-entropy with a margin on the cosine of the true class (Wang et al. 2018). Needs an embedding head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosface {
    /// The margin that is subtracted from the cosine.
    #[serde(default = "default_cosine")]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 2))]
    pub margin: f64,
    /// The weight of each class: a table by class name, or `"balanced"`. The loss is the weighted mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

fn default_cosine() -> f64 {
    0.35
}

/// Binary cross-entropy of each label, averaged over images and labels. For multi-label data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bce {
    /// The weight of images that have a label, relative to images without it: a table by label, or `"balanced"`. This
    /// is PyTorch's `pos_weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_weights: Option<ClassWeights>,
}
