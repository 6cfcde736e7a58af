//! Losses, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
