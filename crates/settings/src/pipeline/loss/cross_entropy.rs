//! Softmax cross-entropy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};
use crate::pipeline::ClassWeights;

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

impl LossSettings for CrossEntropy {
    fn weights(&self) -> Option<LossWeights<'_>> {
        self.class_weights.as_ref().map(LossWeights::OfClasses)
    }
}
