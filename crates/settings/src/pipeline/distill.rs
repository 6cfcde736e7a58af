//! Knowledge distillation from a model that was trained before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Knowledge distillation: the predictions of a frozen teacher are a second target for each image. Hinton, Vinyals and
/// Dean, *Distilling the Knowledge in a Neural Network* (2015), §2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    /// The stage whose model is the teacher, such as `teacher@best`. It must predict the same classes.
    pub teacher: String,
    /// The logits of both models are divided by this before the softmax. A higher temperature gives unlikely classes
    /// more weight.
    #[serde(default = "default_temperature")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// The weight of the teacher's term in the loss. The term of the labels has weight 1 − `weight`.
    #[serde(default = "default_weight")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub weight: f64,
}

fn default_temperature() -> f64 {
    4.0
}

fn default_weight() -> f64 {
    0.5
}
