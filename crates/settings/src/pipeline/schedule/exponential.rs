//! The same fall over every epoch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::warmup::{Warmup, with_warmup};
use super::{ScheduleSettings, ScheduleStep};

with_warmup! {
    /// Multiplies the learning rate by the same factor every epoch, spread evenly over its steps. At the ends of epochs it
    /// equals PyTorch's `ExponentialLR`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Exponential {
        /// The factor of each epoch.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub gamma: f64,
    }
}

impl ScheduleSettings for Exponential {
    fn warmup(&self) -> Warmup {
        self.own_warmup()
    }

    fn factor(&self, at: ScheduleStep) -> f64 {
        libm::pow(self.gamma, at.since_warmup as f64 / at.steps_per_epoch.max(1) as f64)
    }
}
