//! Optimizers, parameter groups and unfreezing, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The optimizer of a train stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Optimizer {
    Sgd(Sgd),
    Adamw(AdamW),
}

impl Optimizer {
    /// The learning rate, before the schedule is applied.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.lr,
            Self::Adamw(adamw) => adamw.lr,
        }
    }
}

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

fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn default_eps() -> f64 {
    1e-8
}

fn default_weight_decay() -> f64 {
    1e-2
}

/// Parameters with their own learning rate, weight decay or warmup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Patterns of parameter names.
    #[serde(rename = "match")]
    #[schemars(length(min = 1))]
    pub patterns: Vec<String>,
    /// The learning rate of this group. Use either this or `lr_scale`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: Option<f64>,
    /// The learning rate of this group, as a multiple of the optimizer's.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr_scale: Option<f64>,
    /// The weight decay of this group.
    #[schemars(range(min = 0))]
    pub weight_decay: Option<f64>,
    /// Epochs over which this group's learning rate rises linearly from 0. It multiplies the stage's schedule,
    /// including the schedule's own warmup.
    #[schemars(range(min = 0))]
    pub warmup_epochs: Option<f64>,
}

/// Frozen parameters that start to train in the middle of a stage. Either `match` or `last` selects them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unfreeze {
    /// Number of completed epochs before these parameters unfreeze. Must be greater than in the entry before.
    #[schemars(range(min = 1))]
    pub after_epochs: u32,
    /// Patterns of the parameters to unfreeze.
    #[serde(rename = "match")]
    #[schemars(length(min = 1))]
    pub patterns: Option<Vec<String>>,
    /// Unfreezes this many last layers, counted in the order that `defrost params` prints.
    #[schemars(range(min = 1))]
    pub last: Option<usize>,
    /// The learning rate of the unfrozen parameters. Use either this or `lr_scale`. Defaults to the optimizer's.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: Option<f64>,
    /// The learning rate of the unfrozen parameters, as a multiple of the optimizer's.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr_scale: Option<f64>,
    /// The weight decay of the unfrozen parameters.
    #[schemars(range(min = 0))]
    pub weight_decay: Option<f64>,
    /// Epochs over which the learning rate of the unfrozen parameters rises linearly from 0, starting when they
    /// unfreeze.
    #[schemars(range(min = 0))]
    pub warmup_epochs: Option<f64>,
}

/// The learning rate, weight decay and warmup that a group or an `unfreeze` entry may set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub lr: Option<f64>,
    pub lr_scale: Option<f64>,
    pub weight_decay: Option<f64>,
    pub warmup_epochs: Option<f64>,
}

impl Rates {
    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        [self.lr, self.lr_scale, self.weight_decay, self.warmup_epochs].iter().all(Option::is_none)
    }
}

impl Group {
    pub fn rates(&self) -> Rates {
        let Self { lr, lr_scale, weight_decay, warmup_epochs, .. } = *self;
        Rates { lr, lr_scale, weight_decay, warmup_epochs }
    }
}

impl Unfreeze {
    pub fn rates(&self) -> Rates {
        let Self { lr, lr_scale, weight_decay, warmup_epochs, .. } = *self;
        Rates { lr, lr_scale, weight_decay, warmup_epochs }
    }
}
