//! Optimizers, parameter groups and what joins them later, as written in a train stage.

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
    /// The learning rate, before the schedule.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.lr,
            Self::Adamw(adamw) => adamw.lr,
        }
    }
}

/// Stochastic gradient descent with momentum, as PyTorch's `SGD`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// The share of the last update that is kept.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub momentum: f64,
    /// Nesterov's momentum; needs `momentum` above 0.
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay, added to the gradient (L2).
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Parameters without weight decay, such as `["@norm", "@bias"]`.
    #[serde(default)]
    pub no_decay: Vec<String>,
}

/// AdamW: Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (ICLR 2019), as PyTorch's `AdamW`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: f64,
    /// Decay of the running averages of the gradient and of its square.
    #[serde(default = "default_betas")]
    #[schemars(extend("items" = { "type": "number", "minimum": 0, "exclusiveMaximum": 1 }))]
    pub betas: [f64; 2],
    /// Added to the denominator.
    #[serde(default = "default_eps")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default = "default_weight_decay")]
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Parameters without weight decay, such as `["@norm", "@bias"]`.
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

/// Parameters with a learning rate, weight decay or warmup of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Patterns over parameter names.
    #[serde(rename = "match")]
    #[schemars(length(min = 1))]
    pub patterns: Vec<String>,
    /// The learning rate of this group. Either this or `lr_scale`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: Option<f64>,
    /// The learning rate of this group as a multiple of the optimizer's.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr_scale: Option<f64>,
    /// The weight decay of this group.
    #[schemars(range(min = 0))]
    pub weight_decay: Option<f64>,
    /// Epochs over which this group's learning rate rises linearly from 0, beside the schedule's own warmup.
    #[schemars(range(min = 0))]
    pub warmup_epochs: Option<f64>,
}

/// Parameters that begin to train in the middle of a stage. Either `match` or `last` says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unfreeze {
    /// How many epochs are over when they join; more than in the entry before.
    #[schemars(range(min = 1))]
    pub after_epochs: u32,
    /// Patterns over the names of parameters that are frozen until then.
    #[serde(rename = "match")]
    #[schemars(length(min = 1))]
    pub patterns: Option<Vec<String>>,
    /// From then on the last so many layers train, counted in the order `defrost params` prints.
    #[schemars(range(min = 1))]
    pub last: Option<usize>,
    /// The learning rate of what joins. Either this or `lr_scale`; the optimizer's if neither is given.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr: Option<f64>,
    /// The learning rate of what joins as a multiple of the optimizer's.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr_scale: Option<f64>,
    /// The weight decay of what joins.
    #[schemars(range(min = 0))]
    pub weight_decay: Option<f64>,
    /// Epochs over which the learning rate of what joins rises linearly from 0, from the moment it joins.
    #[schemars(range(min = 0))]
    pub warmup_epochs: Option<f64>,
}

/// What a group, or what joins later, may say of its own pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub lr: Option<f64>,
    pub lr_scale: Option<f64>,
    pub weight_decay: Option<f64>,
    pub warmup_epochs: Option<f64>,
}

impl Rates {
    /// Whether nothing is said.
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
