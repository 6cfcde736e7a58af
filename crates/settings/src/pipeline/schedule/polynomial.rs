//! A fall as a power of the steps that are left.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::warmup::{Warmup, with_warmup};
use super::{ScheduleSettings, ScheduleStep};

with_warmup! {
    /// Decays to `final_scale` as a power of the remaining steps, like PyTorch's `PolynomialLR`. Linear by default.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Polynomial {
        /// The power: 1 decays linearly, 2 and more decay faster at first.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub power: f64,
        /// The learning rate at the end, as a fraction of the full one.
        #[serde(default)]
        #[schemars(range(min = 0, max = 1))]
        pub final_scale: f64,
    }
}

fn one() -> f64 {
    1.0
}

impl ScheduleSettings for Polynomial {
    fn warmup(&self) -> Warmup {
        self.own_warmup()
    }

    fn depends_on_epochs(&self) -> bool {
        true
    }

    fn factor(&self, at: ScheduleStep) -> f64 {
        let left = libm::pow(1.0 - at.progress(), self.power);
        self.final_scale + (1.0 - self.final_scale) * left
    }
}
