//! Learning rate schedules, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

impl Schedule {
    /// Epochs of warmup, and the fraction of the learning rate that it starts at.
    pub fn warmup(&self) -> (f64, f64) {
        match self {
            Self::Constant(Constant { warmup_epochs, warmup_start, .. })
            | Self::Step(StepDecay { warmup_epochs, warmup_start, .. })
            | Self::MultiStep(MultiStep { warmup_epochs, warmup_start, .. })
            | Self::Exponential(Exponential { warmup_epochs, warmup_start, .. })
            | Self::Polynomial(Polynomial { warmup_epochs, warmup_start, .. })
            | Self::Cosine(Cosine { warmup_epochs, warmup_start, .. })
            | Self::ReduceOnPlateau(ReduceOnPlateau { warmup_epochs, warmup_start, .. }) => {
                (*warmup_epochs, *warmup_start)
            }
            Self::OneCycle(_) => (0.0, 0.0),
        }
    }
}

/// The same learning rate throughout, after the warmup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// Where the warmup starts, as a fraction of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

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
    /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// Where the warmup starts, as a fraction of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

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
    /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// Where the warmup starts, as a fraction of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

/// Multiplies the learning rate by the same factor every epoch, spread evenly over its steps. At the ends of epochs it
/// equals PyTorch's `ExponentialLR`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// The factor of each epoch.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub gamma: f64,
    /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// Where the warmup starts, as a fraction of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

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
    /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// Where the warmup starts, as a fraction of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

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
    /// Epochs over which the learning rate rises linearly to its full value. Fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// Where the warmup starts, as a fraction of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

fn tenth() -> f64 {
    0.1
}

fn one() -> f64 {
    1.0
}

fn once() -> u32 {
    1
}

fn ten() -> u32 {
    10
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

fn default_threshold() -> f64 {
    1e-4
}

// Settings at these defaults are left out of recipes: the recipes are older than the settings, and must not change.

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_once(number: &u32) -> bool {
    *number == 1
}
