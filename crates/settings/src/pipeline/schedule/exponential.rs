//! The same fall over every epoch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{Moment, ScheduleSettings};
use super::warmup::{Warmup, with_warmup};

with_warmup! {
    /// Falls by the same factor over every epoch, evenly from step to step: at the ends of epochs as PyTorch's `ExponentialLR`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Exponential {
        /// What each epoch multiplies the learning rate by.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub gamma: f64,
    }
}

impl ScheduleSettings for Exponential {
    fn warmup(&self) -> Warmup {
        self.own_warmup()
    }

    fn factor(&self, at: Moment) -> f64 {
        libm::pow(self.gamma, at.since_warmup as f64 / at.steps_per_epoch.max(1) as f64)
    }
}
