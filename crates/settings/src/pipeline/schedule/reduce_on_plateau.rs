//! A fall by a factor where the monitor does not improve.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::warmup::{Warmup, with_warmup};
use super::{ScheduleSettings, ScheduleStep};

with_warmup! {
    /// Reduces the learning rate when the monitored metric stops improving, like PyTorch's `ReduceLROnPlateau`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct ReduceOnPlateau {
        /// The factor of each reduction.
        #[serde(default = "tenth")]
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub factor: f64,
        /// Epochs without improvement before the learning rate is reduced. The next epoch without improvement reduces it.
        #[serde(default = "ten")]
        pub patience: u32,
        /// The smallest change of the monitored metric that counts as an improvement, as a fraction of the best value so
        /// far.
        #[serde(default = "default_threshold")]
        #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
        pub threshold: f64,
        /// Epochs after a reduction in which epochs without improvement are not counted.
        #[serde(default)]
        pub cooldown: u32,
        /// The lowest learning rate, as a fraction of the full one.
        #[serde(default)]
        #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
        pub final_scale: f64,
    }
}

fn tenth() -> f64 {
    0.1
}

fn ten() -> u32 {
    10
}

fn default_threshold() -> f64 {
    1e-4
}

impl ScheduleSettings for ReduceOnPlateau {
    fn warmup(&self) -> Warmup {
        self.own_warmup()
    }

    /// The falls depend on the monitor: the train loop counts them.
    fn factor(&self, _: ScheduleStep) -> f64 {
        1.0
    }

    fn plateau(&self) -> Option<&ReduceOnPlateau> {
        Some(self)
    }
}
