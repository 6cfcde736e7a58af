//! Low-rank adapters of linear layers, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Low-rank adapters (LoRA: Hu et al. 2021). Each matched linear layer computes W·x + alpha / rank · B·A·x, in which W
/// stays frozen while A and B train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// Patterns of the linear layers to adapt, such as `encoder.layers.*.self_attention`.
    #[serde(rename = "match")]
    #[schemars(length(min = 1))]
    pub patterns: Vec<String>,
    /// The rank: the number of rows of A and of columns of B.
    #[schemars(range(min = 1, max = 65536))]
    pub rank: usize,
    /// The adapters are scaled by `alpha` / `rank`. By default `alpha` equals `rank`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: Option<f64>,
}

impl Adapter {
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(self.rank as f64)
    }
}
