//! CosFace: a margin on the cosine of the right class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};
use crate::pipeline::ClassWeights;

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

impl LossSettings for Cosface {
    fn weights(&self) -> Option<LossWeights<'_>> {
        self.class_weights.as_ref().map(LossWeights::OfClasses)
    }

    fn needs_cosines(&self) -> bool {
        true
    }
}
