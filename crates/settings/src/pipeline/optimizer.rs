//! The optimizer and the parameter groups of a train stage: one file for each optimizer's settings.
//!
//! It reads settings and computes nothing: the steps are in `train/optimizer`.

mod adam;
mod adamw;
mod groups;
mod sgd;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adam::Adam;
pub use adamw::AdamW;
pub use groups::{Group, Rates, Unfreeze};
pub use sgd::Sgd;

/// The optimizer of a train stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Optimizer {
    Sgd(Sgd),
    Adam(Adam),
    Adamw(AdamW),
}

/// The settings of one optimizer, as the rest of the program reads them.
pub trait OptimizerSettings {
    /// The name under which the time of a step is remembered. Settings that change the work of a step have another.
    fn name(&self) -> &'static str;

    /// The settings that every optimizer has.
    fn common(&self) -> CommonSettings<'_>;

    /// The parameters without weight decay.
    fn no_decay_mut(&mut self) -> &mut Vec<String>;

    /// The momentum, of an optimizer whose momentum may change during training.
    fn momentum(&self) -> Option<f64> {
        None
    }

    /// A setting that contradicts another one.
    fn conflict(&self) -> Option<SettingConflict> {
        None
    }
}

/// The settings that every optimizer has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommonSettings<'a> {
    /// The learning rate, before the schedule is applied.
    pub lr: f64,
    pub weight_decay: f64,
    /// Patterns of the parameters without weight decay.
    pub no_decay: &'a [String],
}

/// A setting that contradicts another one of the same optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingConflict {
    pub key: &'static str,
    pub message: &'static str,
    pub help: &'static str,
}

impl Optimizer {
    pub fn settings(&self) -> &dyn OptimizerSettings {
        match self {
            Self::Sgd(settings) => settings,
            Self::Adam(settings) => settings,
            Self::Adamw(settings) => settings,
        }
    }

    pub fn settings_mut(&mut self) -> &mut dyn OptimizerSettings {
        match self {
            Self::Sgd(settings) => settings,
            Self::Adam(settings) => settings,
            Self::Adamw(settings) => settings,
        }
    }

    /// The learning rate, before the schedule is applied.
    pub fn lr(&self) -> f64 {
        self.settings().common().lr
    }
}
