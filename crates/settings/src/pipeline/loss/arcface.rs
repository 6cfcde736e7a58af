//! ArcFace: a margin on the angle to the right class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{LossSettings, Weights};
use crate::pipeline::ClassWeights;

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

impl LossSettings for Arcface {
    fn weights(&self) -> Option<Weights<'_>> {
        self.class_weights.as_ref().map(Weights::OfClasses)
    }

    fn needs_cosines(&self) -> bool {
        true
    }
}
