//! AdamW, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adam::{default_betas, default_eps};
use super::{CommonSettings, OptimizerSettings};

/// AdamW: Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (ICLR 2019), like PyTorch's `AdamW`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// Decay rates of the running averages of the gradient and of its square.
    #[serde(default = "default_betas")]
    #[schemars(extend("items" = { "type": "number", "minimum": 0, "exclusiveMaximum": 1 }))]
    pub betas: [f64; 2],
    /// Added to the denominator for numerical stability.
    #[serde(default = "default_eps")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default = "default_weight_decay")]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Patterns of parameters without weight decay, such as `["@norm", "@bias"]`.
    #[serde(default)]
    pub no_decay: Vec<String>,
}

fn default_weight_decay() -> f64 {
    1e-2
}

impl OptimizerSettings for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn common(&self) -> CommonSettings<'_> {
        CommonSettings { lr: self.lr, weight_decay: self.weight_decay, no_decay: &self.no_decay }
    }

    fn no_decay_mut(&mut self) -> &mut Vec<String> {
        &mut self.no_decay
    }
}
