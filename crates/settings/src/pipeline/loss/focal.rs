//! Focal loss.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{LossSettings, Weights};
use crate::pipeline::ClassWeights;

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

impl LossSettings for Focal {
    fn weights(&self) -> Option<Weights<'_>> {
        self.class_weights.as_ref().map(Weights::OfClasses)
    }
}
