//! Adam, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CommonSettings, OptimizerSettings};

/// Adam: Kingma and Ba, *Adam: A Method for Stochastic Optimization* (ICLR 2015), like PyTorch's `Adam`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adam {
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
    /// Weight decay, added to the gradient (L2).
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Patterns of parameters without weight decay, such as `["@norm", "@bias"]`.
    #[serde(default)]
    pub no_decay: Vec<String>,
}

pub(super) fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}

pub(super) fn default_eps() -> f64 {
    1e-8
}

impl OptimizerSettings for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn common(&self) -> CommonSettings<'_> {
        CommonSettings { lr: self.lr, weight_decay: self.weight_decay, no_decay: &self.no_decay }
    }

    fn no_decay_mut(&mut self) -> &mut Vec<String> {
        &mut self.no_decay
    }
}
