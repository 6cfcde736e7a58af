//! ArcFace: a margin on the angle to the right class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};
use crate::pipeline::ClassWeights;

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

impl LossSettings for Arcface {
    fn weights(&self) -> Option<LossWeights<'_>> {
        self.class_weights.as_ref().map(LossWeights::OfClasses)
    }

    fn needs_cosines(&self) -> bool {
        true
    }
}
