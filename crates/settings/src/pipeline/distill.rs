//! Learning from a model that was trained before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a frozen teacher says of each image, as a second target: Hinton, Vinyals and Dean, *Distilling the Knowledge in
/// a Neural Network* (2015), §2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    /// The stage whose model teaches, such as `teacher@best`; it tells the same classes apart.
    pub teacher: String,
    /// What the scores of both models are divided by before the softmax: the higher, the more unlikely classes count.
    #[serde(default = "default_temperature")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// The teacher's share of the loss; the labels have the rest.
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
