//! Softmax cross-entropy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{LossSettings, Weights};
use crate::pipeline::ClassWeights;

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

impl LossSettings for CrossEntropy {
    fn weights(&self) -> Option<Weights<'_>> {
        self.class_weights.as_ref().map(Weights::OfClasses)
    }
}
