//! How the learning rate moves, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves over a stage; set per optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    Constant(Constant),
    Cosine(Cosine),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant(Constant { warmup_epochs: 0.0 })
    }
}

/// The same learning rate throughout, after the warmup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// Epochs over which the learning rate rises linearly from 0; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
}

/// Half a cosine from the learning rate down to `final_scale` times it: Loshchilov and Hutter, *SGDR* (ICLR 2017), §3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// Epochs over which the learning rate rises linearly from 0; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// The learning rate at the end, as a share of the full one.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub final_scale: f64,
}
