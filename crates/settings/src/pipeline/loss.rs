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
    /// What classes count, if not all the same.
    pub fn class_weights(&self) -> Option<&ClassWeights> {
        match self {
            Self::CrossEntropy(CrossEntropy { class_weights, .. })
            | Self::Focal(Focal { class_weights, .. })
            | Self::Arcface(Arcface { class_weights, .. })
            | Self::Cosface(Cosface { class_weights, .. }) => class_weights.as_ref(),
            Self::Bce(_) => None,
        }
    }

    /// Whether it tells labels, of which an image has any number.
    pub fn is_multi_label(&self) -> bool {
        matches!(self, Self::Bce(_))
    }

    /// Whether it puts a margin on cosines, which only an embedding head has.
    pub fn needs_cosines(&self) -> bool {
        matches!(self, Self::Arcface(_) | Self::Cosface(_))
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
    /// What each class counts, as a table by name or `"balanced"`; the mean is by these weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

/// Cross-entropy that counts what is told well already less: times (1 − p)^gamma (Lin et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Focal {
    /// How much less; 0 is cross-entropy.
    #[serde(default = "default_gamma")]
    #[schemars(range(min = 0))]
    pub gamma: f64,
    /// What each class counts (the paper's α), as a table by name or `"balanced"`; the mean is by these weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

fn default_gamma() -> f64 {
    2.0
}

/// Cross-entropy with a margin on the angle to the right class (Deng et al. 2019); needs an embedding head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arcface {
    /// Added to the angle, in radians.
    #[serde(default = "default_angle")]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.57))]
    pub margin: f64,
    /// Leaves cosines below 0 without a margin.
    #[serde(default)]
    pub easy_margin: bool,
    /// What each class counts, as a table by name or `"balanced"`; the mean is by these weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

fn default_angle() -> f64 {
    0.5
}

/// Cross-entropy with a margin on the cosine of the right class (Wang et al. 2018); needs an embedding head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosface {
    /// Taken from the cosine.
    #[serde(default = "default_cosine")]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 2))]
    pub margin: f64,
    /// What each class counts, as a table by name or `"balanced"`; the mean is by these weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

fn default_cosine() -> f64 {
    0.35
}

/// Binary cross-entropy of each label by itself, averaged over images and labels; for images with any number of labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bce {
    /// What an image with a label counts where one without counts 1, as a table by label or `"balanced"`: PyTorch's `pos_weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_weights: Option<ClassWeights>,
}
