//! Focal loss.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};
use crate::pipeline::ClassWeights;

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

impl LossSettings for Focal {
    fn weights(&self) -> Option<LossWeights<'_>> {
        self.class_weights.as_ref().map(LossWeights::OfClasses)
    }
}
