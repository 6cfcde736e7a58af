//! A rise to the learning rate, then a fall far below where it began.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ScheduleSettings, ScheduleStep};

/// Rises to the learning rate, then falls far below its start: Smith and Topin, *Super-Convergence* (2018), like
/// PyTorch's `OneCycleLR`. Momentum is constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneCycle {
    /// The fraction of the stage over which the learning rate rises.
    #[serde(default = "default_rise")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub pct_start: f64,
    /// The stage starts at the learning rate divided by this.
    #[serde(default = "default_division")]
    #[schemars(range(min = 1))]
    pub div_factor: f64,
    /// The stage ends at its starting learning rate divided by this.
    #[serde(default = "default_final_division")]
    #[schemars(range(min = 1))]
    pub final_div_factor: f64,
}

fn default_rise() -> f64 {
    0.3
}

fn default_division() -> f64 {
    25.0
}

fn default_final_division() -> f64 {
    1e4
}

impl ScheduleSettings for OneCycle {
    fn depends_on_epochs(&self) -> bool {
        true
    }

    fn factor(&self, at: ScheduleStep) -> f64 {
        let (step, total) = (at.step as f64, at.total as f64);
        let first = 1.0 / self.div_factor;
        let last = first / self.final_div_factor;
        // Half a cosine up to 1 in step p · T − 1, which may lie between two, and half a cosine down in step T − 1.
        let (peak, end) = (self.pct_start * total - 1.0, total - 1.0);
        let between = |from: f64, to: f64, share: f64| to + (from - to) * (1.0 + libm::cos(PI * share)) / 2.0;
        match step <= peak {
            true if peak > 0.0 => between(first, 1.0, step / peak),
            true => 1.0,
            false => between(1.0, last, ((step - peak) / (end - peak)).min(1.0)),
        }
    }
}
