//! SGD, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CommonSettings, OptimizerSettings, SettingConflict};

/// Stochastic gradient descent with momentum, like PyTorch's `SGD`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// The momentum factor.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub momentum: f64,
    /// Nesterov momentum; needs `momentum` above 0.
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay, added to the gradient (L2).
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Patterns of parameters without weight decay, such as `["@norm", "@bias"]`.
    #[serde(default)]
    pub no_decay: Vec<String>,
}

impl OptimizerSettings for Sgd {
    fn name(&self) -> &'static str {
        if self.momentum == 0.0 { "plain sgd" } else { "sgd" }
    }

    fn common(&self) -> CommonSettings<'_> {
        CommonSettings { lr: self.lr, weight_decay: self.weight_decay, no_decay: &self.no_decay }
    }

    fn no_decay_mut(&mut self) -> &mut Vec<String> {
        &mut self.no_decay
    }

    fn momentum(&self) -> Option<f64> {
        Some(self.momentum)
    }

    fn conflict(&self) -> Option<SettingConflict> {
        (self.nesterov && self.momentum == 0.0).then_some(SettingConflict {
            key: "nesterov",
            message: "Nesterov momentum needs `momentum` above 0",
            help: "set `momentum`, such as 0.9, or remove `nesterov`",
        })
    }
}
