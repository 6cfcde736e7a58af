//! The stages of a pipeline file, as written in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::training::{Augment, BatchNormPolicy, EarlyStop, Group, Loss, Monitor, Optimizer, Schedule};

/// One step of the experiment. Stages form a graph through `from`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    LoadWeights(LoadWeights),
    InitWeights(InitWeights),
    Train(Box<Train>),
    Evaluate(Evaluate),
}

/// Reads pretrained weights, strictly: every tensor must be found, expected and of the right shape, unless a pattern says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadWeights {
    /// The model to fill, by its name under `[model]`. May be left out where the file has one.
    pub model: Option<String>,
    /// The data set whose classes the head has, by its name under `[data]`. May be left out where the file has one.
    pub data: Option<String>,
    /// The weights: a `.safetensors` file or a PyTorch `.pth` state dict. `${VAR}` is replaced from the environment.
    pub file: String,
    /// Tensors that are not read but initialised afresh, such as `["@head"]`.
    #[serde(default)]
    pub reinit: Vec<String>,
    /// Tensors that may be missing from the file; they are initialised afresh.
    #[serde(default)]
    pub allow_missing: Vec<String>,
    /// Tensors of the file that the model does not have and that may be left unread.
    #[serde(default)]
    pub allow_unexpected: Vec<String>,
    /// Tensors that may have another shape in the file; they are initialised afresh.
    #[serde(default)]
    pub allow_mismatched: Vec<String>,
}

/// Initialises all weights at random, from the seed and each parameter's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitWeights {
    /// The model to fill, by its name under `[model]`. May be left out where the file has one.
    pub model: Option<String>,
    /// The data set whose classes the head has, by its name under `[data]`. May be left out where the file has one.
    pub data: Option<String>,
}

/// Trains the parameters that its rules leave trainable, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// The stage whose weights this one starts from; after a train stage with `@best` or `@last`.
    pub from: String,
    /// The data set to train on, by its name under `[data]`. May be left out where the file has one.
    pub data: Option<String>,
    /// How often every training image is seen.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Images per optimizer step.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// The optimizer and its settings.
    pub optimizer: Optimizer,
    /// How the learning rate moves over the stage; constant if left out.
    #[serde(default)]
    pub schedule: Schedule,
    /// The loss; cross-entropy if left out.
    #[serde(default)]
    pub loss: Loss,
    /// Parameters to keep still; everything else trains. One of `freeze`, `train` or a depth setting may be given.
    pub freeze: Option<Vec<String>>,
    /// Parameters to train; everything else is frozen.
    pub train: Option<Vec<String>>,
    /// Freezes the first layers, counted in the order `defrost params` prints.
    pub freeze_first: Option<usize>,
    /// Trains the first layers only.
    pub train_first: Option<usize>,
    /// Trains the last layers only.
    pub train_last: Option<usize>,
    /// What batch normalisation does in this stage.
    #[serde(default)]
    pub batch_norm: BatchNormPolicy,
    /// Parameter groups with a learning rate or weight decay of their own; a parameter may be in one at most.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Random changes to training images; none if left out.
    #[serde(default)]
    pub augment: Augment,
    /// The side of the square images in pixels, instead of the data set's.
    #[schemars(range(min = 1))]
    pub image_size: Option<usize>,
    /// What `@best` and early stopping look at.
    #[serde(default)]
    pub monitor: Monitor,
    /// Ends the stage when the monitor no longer improves.
    pub early_stop: Option<EarlyStop>,
}

fn default_batch_size() -> usize {
    32
}

/// Measures a model on one split and draws what a person wants to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The stage whose weights are evaluated; after a train stage with `@best` or `@last`.
    pub from: String,
    /// The data set to evaluate on, by its name under `[data]`. May be left out where the file has one.
    pub data: Option<String>,
    /// The part of the data set.
    #[serde(default)]
    pub split: EvaluationSplit,
    /// The side of the square images in pixels, instead of the data set's.
    #[schemars(range(min = 1))]
    pub image_size: Option<usize>,
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationSplit {
    Train,
    Validation,
    #[default]
    Test,
}
