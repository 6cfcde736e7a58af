//! How the learning rate moves, as written in a train stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves over a stage; set per optimizer step.
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
    /// Epochs of warmup, and the share of the learning rate that it begins above.
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
    /// Epochs over which the learning rate rises linearly to the full one; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// What the warmup rises from, as a share of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

/// Falls by a factor every few epochs, as PyTorch's `StepLR`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDecay {
    /// Epochs from one fall to the next, the first counted from the end of the warmup.
    #[schemars(range(min = 1))]
    pub step_size: u32,
    /// What each fall multiplies the learning rate by.
    #[serde(default = "tenth")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub gamma: f64,
    /// Epochs over which the learning rate rises linearly to the full one; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// What the warmup rises from, as a share of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

/// Falls by a factor after each of some epochs, as PyTorch's `MultiStepLR`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MultiStep {
    /// The epochs after which it falls, counted from the beginning of the stage: after 30 means in the 31st.
    #[schemars(length(min = 1), extend("items" = { "type": "integer", "minimum": 1, "maximum": u32::MAX }))]
    pub milestones: Vec<u32>,
    /// What each fall multiplies the learning rate by.
    #[serde(default = "tenth")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub gamma: f64,
    /// Epochs over which the learning rate rises linearly to the full one; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// What the warmup rises from, as a share of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

/// Falls by the same factor over every epoch, evenly from step to step: at the ends of epochs as PyTorch's `ExponentialLR`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// What each epoch multiplies the learning rate by.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub gamma: f64,
    /// Epochs over which the learning rate rises linearly to the full one; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// What the warmup rises from, as a share of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

/// Falls to `final_scale` as a power of the steps that are left, as PyTorch's `PolynomialLR`: linearly if no power is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Polynomial {
    /// The power: 1 falls evenly, 2 and more fast at first.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub power: f64,
    /// The learning rate at the end, as a share of the full one.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub final_scale: f64,
    /// Epochs over which the learning rate rises linearly to the full one; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// What the warmup rises from, as a share of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
}

/// Half a cosine from the learning rate down to `final_scale` times it: Loshchilov and Hutter, *SGDR* (ICLR 2017), §3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// Epochs over which the learning rate rises linearly to the full one; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// What the warmup rises from, as a share of the full learning rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0, "minimum" = 0, "exclusiveMaximum" = 1))]
    pub warmup_start: f64,
    /// The learning rate at the end, as a share of the full one.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub final_scale: f64,
    /// Starts again at the full learning rate after so many epochs (SGDR's T₀); one fall over the whole stage if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub restart_epochs: Option<u32>,
    /// How many times as long each fall is as the one before (SGDR's T_mult); needs `restart_epochs`.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    #[schemars(range(min = 1), extend("default" = 1))]
    pub restart_multiplier: u32,
}

/// Rises to the learning rate, then falls far below where it began: Smith and Topin, *Super-Convergence* (2018), as PyTorch's `OneCycleLR`. Momentum stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneCycle {
    /// The share of the stage over which it rises.
    #[serde(default = "default_rise")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub pct_start: f64,
    /// The learning rate divided by this is what it begins at.
    #[serde(default = "default_division")]
    #[schemars(range(min = 1))]
    pub div_factor: f64,
    /// What it begins at, divided by this, is what it ends at.
    #[serde(default = "default_final_division")]
    #[schemars(range(min = 1))]
    pub final_div_factor: f64,
}

/// Falls by a factor when the monitor has not improved for a while, as PyTorch's `ReduceLROnPlateau`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReduceOnPlateau {
    /// What each fall multiplies the learning rate by.
    #[serde(default = "tenth")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub factor: f64,
    /// Epochs without improvement that are borne; the next one brings the fall.
    #[serde(default = "ten")]
    pub patience: u32,
    /// The least change of the monitor that counts as an improvement, as a share of the best value so far.
    #[serde(default = "default_threshold")]
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub threshold: f64,
    /// Epochs after a fall in which nothing is counted.
    #[serde(default)]
    pub cooldown: u32,
    /// What it never falls below, as a share of the full learning rate.
    #[serde(default)]
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub final_scale: f64,
    /// Epochs over which the learning rate rises linearly to the full one; fractions are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warmup_epochs: f64,
    /// What the warmup rises from, as a share of the full learning rate.
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

// What stands at these defaults is left out of recipes, which are older than the settings.

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_once(number: &u32) -> bool {
    *number == 1
}
