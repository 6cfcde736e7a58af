//! The stages of a pipeline file, as written in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::augment::Augment;
use super::distill::Distill;
use super::loss::Loss;
use super::optimizer::{Group, Optimizer, Unfreeze};
use super::recognition::{Identification, Verification};
use super::schedule::Schedule;
use super::training::{BatchNormPolicy, EarlyStop, Ema, Features, Monitor, Precision};

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
    #[schemars(length(min = 1))]
    pub file: Option<String>,
    /// Instead of `file`, a stage of this pipeline whose weights are taken over, such as `domain@best`: into a model of
    /// other classes, or of another head.
    pub from: Option<String>,
    /// Instead of `file`, another pipeline file, one of whose stages the weights are taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub pipeline: Option<String>,
    /// The stage of that pipeline, such as `domain@best`. It must have been run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
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
    /// Images per batch; per optimizer step unless `accumulate` says otherwise.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Batches per optimizer step: their gradients are averaged over all their images.
    #[serde(default = "one_batch")]
    #[schemars(range(min = 1))]
    pub accumulate: u32,
    /// The optimizer and its settings.
    pub optimizer: Optimizer,
    /// The most that the L2 norm of all gradients together may be; longer ones are scaled down to it.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_norm: Option<f64>,
    /// Averages the weights over the steps: these are validated, and kept as `@best` and `@last`.
    pub ema: Option<Ema>,
    /// How the learning rate moves over the stage; constant if left out.
    #[serde(default)]
    pub schedule: Schedule,
    /// The loss; cross-entropy if left out.
    #[serde(default)]
    pub loss: Loss,
    /// A frozen teacher beside the labels; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<Distill>,
    /// Parameters to keep still; everything else trains. One of `freeze`, `train` or a depth setting may be given.
    pub freeze: Option<Vec<String>>,
    /// Parameters to train; everything else is frozen.
    #[schemars(length(min = 1))]
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
    /// Parameter groups with a learning rate, weight decay or warmup of their own; a parameter may be in one at most.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Frozen parameters that begin to train after some epochs, in the order they do.
    #[serde(default)]
    pub unfreeze: Vec<Unfreeze>,
    /// The share that each layer has of the learning rate of the layer above it; the head has the full one.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub layer_decay: Option<f64>,
    /// Random changes to training images; none if left out.
    #[serde(default)]
    pub augment: Augment,
    /// The numbers that a training step computes with; `tf32` and `bf16` on GPUs alone.
    #[serde(default)]
    pub precision: Precision,
    /// How the features of the frozen layers are kept from epoch to epoch.
    pub features: Option<Features>,
    /// The side of the square images in pixels, instead of the data set's.
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: Option<usize>,
    /// What `@best` and early stopping look at.
    #[serde(default)]
    pub monitor: Monitor,
    /// Ends the stage when the monitor no longer improves.
    pub early_stop: Option<EarlyStop>,
}

impl Train {
    /// Whether the parts of labels and teacher in the loss are means by different weights over the batches of an optimizer
    /// step. What a batch counts in the whole is known at the end of the step alone, so their gradients are kept apart until
    /// then, and each batch is computed twice.
    pub fn weighs_teacher_apart(&self) -> bool {
        self.accumulate > 1 && self.distill.is_some() && self.loss.class_weights().is_some()
    }
}

fn default_batch_size() -> usize {
    32
}

fn one_batch() -> u32 {
    1
}

/// Measures a model on one split and draws what a person wants to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The stage whose weights are evaluated; after a train stage with `@best` or `@last`.
    pub from: Option<String>,
    /// Instead of `from`, trained stages whose class probabilities are averaged: `["frozen@best", "finetune@best"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2), extend("uniqueItems" = true))]
    pub ensemble: Option<Vec<String>>,
    /// The data set to evaluate on, by its name under `[data]`. May be left out where the file has one.
    pub data: Option<String>,
    /// The part of the data set.
    #[serde(default)]
    pub split: EvaluationSplit,
    /// Compares images by their embeddings, two at a time, instead of telling their classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Looks images up in a gallery by their embeddings, instead of telling their classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identification: Option<Identification>,
    /// The side of the square images in pixels, instead of the data set's.
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: Option<usize>,
}

impl Evaluate {
    /// Whether it compares embeddings instead of telling classes.
    pub fn compares_embeddings(&self) -> bool {
        self.verification.is_some() || self.identification.is_some()
    }
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

impl EvaluationSplit {
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// In words, as in `the training part`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// As the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// The weights of a stage that a train stage leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Of the epoch with the best monitor; ties to the earliest.
    Best,
    /// Of the last epoch.
    Last,
}

/// What `from` says: a stage, and after a train stage which of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<'a> {
    pub stage: &'a str,
    pub checkpoint: Option<Checkpoint>,
}

impl<'a> Parent<'a> {
    /// Parses `pretrained`, `frozen@best` or `frozen@last`; nothing if another word follows the `@`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (stage, checkpoint) = match text.split_once('@') {
            None => (text, None),
            Some((stage, "best")) => (stage, Some(Checkpoint::Best)),
            Some((stage, "last")) => (stage, Some(Checkpoint::Last)),
            Some(_) => return None,
        };
        Some(Self { stage, checkpoint })
    }
}

impl Stage {
    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::LoadWeights(_) => "load_weights",
            Self::InitWeights(_) => "init_weights",
            Self::Train(_) => "train",
            Self::Evaluate(_) => "evaluate",
        }
    }

    /// The stages whose weights this one reads, in order; none for those that make weights or read a file.
    pub fn parents(&self) -> Vec<Parent<'_>> {
        let written: Vec<&String> = match self {
            Self::LoadWeights(load) => load.from.iter().collect(),
            Self::InitWeights(_) => Vec::new(),
            Self::Train(train) => std::iter::once(&train.from)
                .chain(train.distill.iter().map(|distill| &distill.teacher))
                .collect(),
            Self::Evaluate(evaluate) => {
                evaluate.from.iter().chain(evaluate.ensemble.iter().flatten()).collect()
            }
        };
        written.into_iter().filter_map(|text| Parent::parse(text)).collect()
    }

    /// The model it names; a stage that trains or evaluates has its parent's.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::LoadWeights(load) => load.model.as_deref(),
            Self::InitWeights(init) => init.model.as_deref(),
            Self::Train(_) | Self::Evaluate(_) => None,
        }
    }

    /// Its own image size, in place of the data set's.
    pub fn image_size(&self) -> Option<usize> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => None,
            Self::Train(train) => train.image_size,
            Self::Evaluate(evaluate) => evaluate.image_size,
        }
    }

    /// The data set it names.
    pub fn data(&self) -> Option<&str> {
        match self {
            Self::LoadWeights(load) => load.data.as_deref(),
            Self::InitWeights(init) => init.data.as_deref(),
            Self::Train(train) => train.data.as_deref(),
            Self::Evaluate(evaluate) => evaluate.data.as_deref(),
        }
    }

    pub(super) fn data_mut(&mut self) -> &mut Option<String> {
        match self {
            Self::LoadWeights(load) => &mut load.data,
            Self::InitWeights(init) => &mut init.data,
            Self::Train(train) => &mut train.data,
            Self::Evaluate(evaluate) => &mut evaluate.data,
        }
    }

    /// The model it fills; a stage that trains or evaluates has its parent's.
    pub(super) fn model_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::LoadWeights(load) => Some(&mut load.model),
            Self::InitWeights(init) => Some(&mut init.model),
            Self::Train(_) | Self::Evaluate(_) => None,
        }
    }
}
