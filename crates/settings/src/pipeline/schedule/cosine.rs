//! Half a cosine, once or again and again.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::warmup::{Warmup, is_zero};
use super::{ScheduleProblem, ScheduleSettings, ScheduleStep, UnusedSetting};

/// Decays along half a cosine from the learning rate to `final_scale` times it: Loshchilov and Hutter, *SGDR* (ICLR
/// 2017), §3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// Where the warmup starts, as a fraction of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
    /// The learning rate at the end, as a fraction of the full one.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub final_scale: f64,
    /// Restarts at the full learning rate after this many epochs (SGDR's T₀). By default there is one decay over the
    /// whole stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub restart_epochs: Option<u32>,
    /// Factor by which each cycle is longer than the one before (SGDR's T_mult). Needs `restart_epochs`.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    #[schemars(range(min = 1), extend("default" = 1))]
    pub restart_multiplier: u32,
}

fn once() -> u32 {
    1
}

fn is_once(number: &u32) -> bool {
    *number == 1
}

impl ScheduleSettings for Cosine {
    fn warmup(&self) -> Warmup {
        Warmup { epochs: self.warmup_epochs, start: self.warmup_start }
    }

    fn factor(&self, at: ScheduleStep) -> f64 {
        let progress = match self.restart_epochs {
            None => at.progress(),
            Some(epochs) => {
                let period = u64::from(epochs) * at.steps_per_epoch;
                cycle_progress(at.since_warmup, period, self.restart_multiplier)
            }
        };
        self.final_scale + (1.0 - self.final_scale) * (1.0 + libm::cos(PI * progress)) / 2.0
    }

    fn depends_on_epochs(&self) -> bool {
        self.restart_epochs.is_none()
    }

    fn is_original(&self) -> bool {
        self.restart_epochs.is_none()
    }

    fn problems(&self, epochs: u32) -> Vec<ScheduleProblem> {
        let late = self.restart_epochs.is_some_and(|period| self.warmup().outlasts(period, epochs));
        let message =
            format!("the first restart would come after the end of the stage, which has {epochs} epochs");
        late.then(|| ScheduleProblem::no_effect("restart_epochs", message)).into_iter().collect()
    }

    fn idle(&self) -> Option<UnusedSetting> {
        (self.restart_multiplier > 1 && self.restart_epochs.is_none()).then_some(UnusedSetting {
            key: "restart_multiplier",
            message: "`restart_multiplier` has no effect without `restart_epochs`",
            help: "set `restart_epochs`, or remove `restart_multiplier`",
        })
    }
}

/// How far the fall has come that `step` is in, the first taking `period` steps and each of the others `multiplier`
/// times those of the one before.
fn cycle_progress(mut step: u64, mut period: u64, multiplier: u32) -> f64 {
    period = period.max(1);
    if multiplier == 1 {
        step %= period;
    }
    while step >= period {
        step -= period;
        period = period.saturating_mul(u64::from(multiplier));
    }
    step as f64 / period as f64
}
