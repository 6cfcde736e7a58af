//! A fall by a factor after each of some epochs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::warmup::{Warmup, with_warmup};
use super::{ScheduleProblem, ScheduleSettings, ScheduleStep};

with_warmup! {
    /// Multiplies the learning rate by a factor after given epochs, like PyTorch's `MultiStepLR`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub struct MultiStep {
        /// The epochs after which the learning rate is reduced, counted from the start of the stage: 30 reduces it from the
        /// 31st epoch on.
        #[schemars(length(min = 1), extend("items" = { "type": "integer", "minimum": 1, "maximum": u32::MAX }))]
        pub milestones: Vec<u32>,
        /// The factor of each reduction.
        #[serde(default = "tenth")]
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub gamma: f64,
    }
}

fn tenth() -> f64 {
    0.1
}

impl ScheduleSettings for MultiStep {
    fn warmup(&self) -> Warmup {
        self.own_warmup()
    }

    fn factor(&self, at: ScheduleStep) -> f64 {
        let past = |epochs: &&u32| at.step >= u64::from(**epochs) * at.steps_per_epoch;
        libm::pow(self.gamma, self.milestones.iter().filter(past).count() as f64)
    }

    fn problems(&self, epochs: u32) -> Vec<ScheduleProblem> {
        let warmup = self.warmup().epochs;
        let problem = |(index, &milestone): (usize, &u32)| {
            let increasing = index == 0 || self.milestones[index - 1] < milestone;
            let (code, message, help) = if !increasing {
                ("conflict", "the milestones must increase".to_owned(), "sort them and remove duplicates")
            } else if milestone >= epochs {
                let message = format!("milestone {milestone} is never reached in {epochs} epochs");
                ("no-effect", message, "remove it, or raise `epochs`")
            } else if f64::from(milestone) < warmup {
                let message = format!("milestone {milestone} is within the warmup ({warmup} epochs)");
                (
                    "conflict",
                    message,
                    "milestones count from the start of the stage: choose a later one, or shorten the warmup",
                )
            } else {
                return None;
            };
            Some(ScheduleProblem {
                setting: format!("milestones[{index}]"),
                code,
                message,
                help: help.to_owned(),
            })
        };
        self.milestones.iter().enumerate().filter_map(problem).collect()
    }
}
