//! Parameter groups and what joins them later, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
