//! A fall by a factor every few epochs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::warmup::{Warmup, with_warmup};
use super::{ScheduleProblem, ScheduleSettings, ScheduleStep};

with_warmup! {
    /// Multiplies the learning rate by a factor every few epochs, like PyTorch's `StepLR`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct StepDecay {
        /// Epochs between two reductions. The first interval starts at the end of the warmup.
        #[schemars(range(min = 1))]
        pub step_size: u32,
        /// The factor of each reduction.
        #[serde(default = "tenth")]
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub gamma: f64,
    }
}

fn tenth() -> f64 {
    0.1
}

impl ScheduleSettings for StepDecay {
    fn warmup(&self) -> Warmup {
        self.own_warmup()
    }

    fn factor(&self, at: ScheduleStep) -> f64 {
        let falls = at.since_warmup / (u64::from(self.step_size) * at.steps_per_epoch).max(1);
        libm::pow(self.gamma, falls as f64)
    }

    fn problems(&self, epochs: u32) -> Vec<ScheduleProblem> {
        let late = self.warmup().outlasts(self.step_size, epochs);
        let message =
            format!("the first reduction would come after the end of the stage, which has {epochs} epochs");
        late.then(|| ScheduleProblem::no_effect("step_size", message)).into_iter().collect()
    }
}
