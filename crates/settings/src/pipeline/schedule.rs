//! How the learning rate moves over a train stage: a file for each schedule, with its settings and its factor.
//!
//! A factor is a function of the settings and the number of a step alone. What depends on the course of training is
//! counted by the train loop.

mod constant;
mod cosine;
mod exponential;
mod multi_step;
mod one_cycle;
mod polynomial;
mod reduce_on_plateau;
mod step;
#[cfg(test)]
mod tests;
mod warmup;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use constant::Constant;
pub use cosine::Cosine;
pub use exponential::Exponential;
pub use multi_step::MultiStep;
pub use one_cycle::OneCycle;
pub use polynomial::Polynomial;
pub use reduce_on_plateau::ReduceOnPlateau;
pub use step::StepDecay;
pub use warmup::Warmup;

/// How the learning rate changes over a stage. It is set for each optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    Constant(Constant),
    Step(StepDecay),
    MultiStep(MultiStep),
    Exponential(Exponential),
    Polynomial(Polynomial),
    Cosine(Cosine),
    OneCycle(OneCycle),
    ReduceOnPlateau(ReduceOnPlateau),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant(Constant { warmup_epochs: 0.0, warmup_start: 0.0 })
    }
}

/// One schedule, as the rest of the program reads it.
pub trait ScheduleSettings {
    fn warmup(&self) -> Warmup {
        Warmup::default()
    }

    /// What the learning rate is multiplied by in a step after the warmup.
    fn factor(&self, at: ScheduleStep) -> f64;

    /// Whether its code is older than the code path of all others.
    fn is_original(&self) -> bool {
        false
    }

    /// The settings by which the train loop counts falls, where they depend on the monitor.
    fn plateau(&self) -> Option<&ReduceOnPlateau> {
        None
    }

    /// Whether a step's factor depends on the number of epochs of the stage.
    fn depends_on_epochs(&self) -> bool {
        false
    }

    /// What is wrong in a stage of so many epochs.
    fn problems(&self, _epochs: u32) -> Vec<ScheduleProblem> {
        Vec::new()
    }

    /// A setting that does nothing without another one.
    fn idle(&self) -> Option<UnusedSetting> {
        None
    }
}

/// A step of a stage, counted from 0.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleStep {
    pub step: u64,
    /// Steps since the end of the warmup.
    pub since_warmup: u64,
    pub steps_per_epoch: u64,
    /// The steps of the stage.
    pub total: u64,
    /// The steps of the warmup.
    pub warmup: u64,
}

impl ScheduleStep {
    /// The share of the steps after the warmup that are over.
    pub fn progress(self) -> f64 {
        (self.since_warmup as f64 / self.total.saturating_sub(self.warmup).max(1) as f64).min(1.0)
    }
}

/// A setting that does not fit the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleProblem {
    /// Its path below the schedule.
    pub setting: String,
    pub code: &'static str,
    pub message: String,
    pub help: String,
}

impl ScheduleProblem {
    pub(super) fn no_effect(key: &str, message: String) -> Self {
        let help = format!("lower `{key}`, or raise `epochs`");
        Self { setting: key.to_owned(), code: "no-effect", message, help }
    }
}

/// A setting that does nothing without another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusedSetting {
    pub key: &'static str,
    pub message: &'static str,
    pub help: &'static str,
}

impl Schedule {
    pub fn settings(&self) -> &dyn ScheduleSettings {
        match self {
            Self::Constant(settings) => settings,
            Self::Step(settings) => settings,
            Self::MultiStep(settings) => settings,
            Self::Exponential(settings) => settings,
            Self::Polynomial(settings) => settings,
            Self::Cosine(settings) => settings,
            Self::OneCycle(settings) => settings,
            Self::ReduceOnPlateau(settings) => settings,
        }
    }

    /// What the learning rate is multiplied by in `step`, counted from 0 over the whole stage of `epochs` epochs.
    ///
    /// The first W = round(warmup_epochs · steps_per_epoch) steps rise linearly from the share w of the full rate:
    /// w + (1 − w) · (step + 1) / W, so that no step is wasted on a rate of 0 and the last of them has the full one. A
    /// warmup longer than the stage never ends. Durations count from the end of the warmup, milestones, being dates,
    /// from the beginning of the stage. What falls over the rest of the stage would reach its end in step T, one after
    /// the last, as with PyTorch's schedulers. What a plateau of the monitor takes off is not in here: see
    /// [`ScheduleSettings::plateau`].
    pub fn lr_factor(&self, step: u64, steps_per_epoch: u64, epochs: u32) -> f64 {
        if let Some(progress) = self.warmup_progress(step, steps_per_epoch) {
            let start = self.settings().warmup().start;
            return start + (1.0 - start) * progress;
        }
        let warmup = self.warmup_steps(steps_per_epoch);
        let total = steps_per_epoch * u64::from(epochs);
        self.settings().factor(ScheduleStep {
            step,
            since_warmup: step - warmup,
            steps_per_epoch,
            total,
            warmup,
        })
    }

    fn warmup_steps(&self, steps_per_epoch: u64) -> u64 {
        (self.settings().warmup().epochs * steps_per_epoch as f64).round() as u64
    }

    /// How far the warmup has come in `step`, counted from 0: above 0, and 1 in its last step. `None` after it.
    pub fn warmup_progress(&self, step: u64, steps_per_epoch: u64) -> Option<f64> {
        let warmup = self.warmup_steps(steps_per_epoch);
        (step < warmup).then(|| (step + 1) as f64 / warmup as f64)
    }
}
