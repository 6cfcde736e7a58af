//! The stages of a pipeline file, as written in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adapted_weights::{ClassRows, FirstConv, RestoreBatchNorm};
use super::adapter::Adapter;
use super::augment::Augment;
use super::decisions::{Calibration, Thresholds};
use super::distill::Distill;
use super::loss::Loss;
use super::optimizer::{Group, Optimizer, Unfreeze};
use super::preset::Preset;
use super::recognition::{Identification, Verification};
use super::sampler::Sampler;
use super::schedule::Schedule;
use super::subsets::{Subset, Subsets};
use super::test_time_augmentation::TestTimeAugmentation;
use super::training::{BatchNormPolicy, EarlyStop, Ema, Features, Monitor, Precision, WarmupStart};

/// One step of the experiment. Stages form a graph through `from`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    LoadWeights(Box<LoadWeights>),
    InitWeights(InitWeights),
    Train(Box<Train>),
    Evaluate(Evaluate),
}

/// Loads pretrained weights. Every tensor must be found, expected and of the right shape, unless a pattern allows an
/// exception.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadWeights {
    /// The model to load into, by its name under `[model]`. Optional if the file has one model.
    pub model: Option<String>,
    /// The data set whose classes the head predicts, by its name under `[data]`. Optional if the file has one data set.
    pub data: Option<String>,
    /// The weights: a `.safetensors` file, or a PyTorch state dict (`.pth`). `${VAR}` is replaced by the environment
    /// variable. A name such as `hf://timm/resnet50.a1_in1k` (`hf://OWNER/REPO@REVISION/FILE`) or an `https://` address
    /// is fetched once, by `defrost run` or `defrost weights fetch`.
    #[schemars(length(min = 1))]
    pub file: Option<String>,
    /// The SHA-256 digest that `file` must have, in hexadecimal digits. Another file is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub sha256: Option<String>,
    /// Instead of `file`: a stage of this pipeline whose weights are loaded, such as `domain@best`, into a model with
    /// other classes or another head.
    pub from: Option<String>,
    /// Instead of `file`: stages of this pipeline whose weights are averaged, such as `["one@best", "two@best"]`. All must
    /// have the same architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2), extend("uniqueItems" = true))]
    pub average: Option<Vec<String>>,
    /// Instead of `file`: another pipeline file, from one of whose stages the weights are loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub pipeline: Option<String>,
    /// The stage of that pipeline, such as `domain@best`. It must have been run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// A file of low-rank adapters (LoRA) that is merged into the weights: `adapter.safetensors` of a run, or PEFT's
    /// `adapter_model.safetensors` with its `adapter_config.json`. Its head and its other whole tensors replace those of
    /// the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub adapter_file: Option<String>,
    /// Patterns of tensors that are not loaded but initialised at random, such as `["@head"]`.
    #[serde(default)]
    pub reinit: Vec<String>,
    /// Patterns of tensors that may be missing from the file. They are initialised at random.
    #[serde(default)]
    pub allow_missing: Vec<String>,
    /// Patterns of tensors of the file that the model lacks. They are ignored.
    #[serde(default)]
    pub allow_unexpected: Vec<String>,
    /// Patterns of tensors that may have another shape in the file. They are initialised at random.
    #[serde(default)]
    pub allow_mismatched: Vec<String>,
    /// For a head with other classes: takes the rows of its last layers from classes of the file. `"by_name"` takes
    /// those of the same name; a table such as `{ tram = "train" }` names the file's class for classes of the data set.
    /// The other rows are initialised at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_rows: Option<ClassRows>,
    /// The classes of the file in the order of its outputs, for `class_rows` if the file does not record them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub file_classes: Vec<String>,
    /// How the first convolution is taken from a file for another number of image channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_conv: Option<FirstConv>,
    /// Puts batch normalisation back where the file has it merged into the convolutions, with statistics of training
    /// images. Outputs of the network do not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_batch_norm: Option<RestoreBatchNorm>,
}

/// Initialises all weights at random, from the seed and each parameter's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitWeights {
    /// The model to initialise, by its name under `[model]`. Optional if the file has one model.
    pub model: Option<String>,
    /// The data set whose classes the head predicts, by its name under `[data]`. Optional if the file has one data set.
    pub data: Option<String>,
}

/// Trains the parameters that its settings leave trainable, and no others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// The stage whose weights this one starts from. After a train stage, add `@best` or `@last`.
    pub from: String,
    /// The data set to train on, by its name under `[data]`. Optional if the file has one data set.
    pub data: Option<String>,
    /// Published training settings, for all that this stage does not set itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Number of passes over the training images.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Images per batch. An optimizer step uses one batch, unless `accumulate` is set.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Batches per optimizer step. Gradients are averaged over all their images.
    #[serde(default = "one_batch")]
    #[schemars(range(min = 1))]
    pub accumulate: u32,
    /// Which training images an epoch shows, and in which order. An image that an epoch shows several times has other
    /// random changes each time.
    #[serde(default, skip_serializing_if = "Sampler::is_default")]
    #[schemars(extend("default" = { "kind": "random" }))]
    pub sampler: Sampler,
    /// The optimizer and its settings.
    pub optimizer: Optimizer,
    /// Largest L2 norm of all gradients together. Larger gradients are scaled down to it.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_norm: Option<f64>,
    /// Keeps an exponential moving average of the weights, which is validated and saved as `@best` and `@last`.
    pub ema: Option<Ema>,
    /// How the learning rate changes over the stage. Constant by default.
    #[serde(default)]
    pub schedule: Schedule,
    /// Where biases and momentum start in the warmup of the schedule, if not with everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_from: Option<WarmupStart>,
    /// The loss. Cross-entropy by default.
    #[serde(default)]
    pub loss: Loss,
    /// Knowledge distillation: a frozen teacher whose predictions are a second target, together with the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<Distill>,
    /// Patterns of parameters to freeze; all others train. Use only one of `freeze`, `train` and the depth settings.
    pub freeze: Option<Vec<String>>,
    /// Patterns of parameters to train; all others are frozen.
    #[schemars(length(min = 1))]
    pub train: Option<Vec<String>>,
    /// Freezes this many first layers, counted in the order that `defrost params` prints.
    pub freeze_first: Option<usize>,
    /// Trains only this many first layers.
    pub train_first: Option<usize>,
    /// Trains only this many last layers.
    pub train_last: Option<usize>,
    /// Low-rank adapters (LoRA) that are added to linear layers. They train; all else that trains is selected by `train`,
    /// `freeze` or a depth setting, one of which is then needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// How batch normalisation behaves in this stage.
    #[serde(default)]
    pub batch_norm: BatchNormPolicy,
    /// Parameter groups with their own learning rate, weight decay or warmup. A parameter may be in at most one group.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Frozen parameters that start to train after some epochs, in this order.
    #[serde(default)]
    pub unfreeze: Vec<Unfreeze>,
    /// Learning rate of each layer, as a fraction of the rate of the layer above it. The head has the full rate.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub layer_decay: Option<f64>,
    /// Random changes to training images. None by default.
    #[serde(default)]
    pub augment: Augment,
    /// The number format of training steps; all but `f32` need a GPU. `f16` is for GPUs without `bf16`: Turing.
    #[serde(default)]
    pub precision: Precision,
    /// How the features of the frozen layers are kept between epochs.
    pub features: Option<Features>,
    /// Side length of the square images in pixels, instead of the data set's.
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: Option<usize>,
    /// The metric that selects `@best` and drives early stopping.
    #[serde(default)]
    pub monitor: Monitor,
    /// Ends the stage when the monitored metric stops improving.
    pub early_stop: Option<EarlyStop>,
}

impl Train {
    /// Whether the two terms of the loss, of the labels and of the teacher, are means with different weights over the
    /// batches of an optimizer step. The total weights are known only at the end of the step. So the gradients of both
    /// terms are kept apart until then, and each batch is computed twice.
    pub fn weighs_teacher_apart(&self) -> bool {
        self.accumulate > 1 && self.distill.is_some() && self.loss.class_weights().is_some()
    }
}

pub(super) fn default_batch_size() -> usize {
    32
}

fn one_batch() -> u32 {
    1
}

/// Evaluates a model on one split: metrics, tables and plots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The stage whose weights are evaluated. After a train stage, add `@best` or `@last`.
    pub from: Option<String>,
    /// Instead of `from`: trained stages whose class probabilities are averaged, such as `["frozen@best",
    /// "finetune@best"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2), extend("uniqueItems" = true))]
    pub ensemble: Option<Vec<String>>,
    /// The data set to evaluate on, by its name under `[data]`. Optional if the file has one data set.
    pub data: Option<String>,
    /// The split to evaluate on. If `split.all` of the data set puts all images into one split, it is the default.
    #[serde(default)]
    pub split: EvaluationSplit,
    /// Compares pairs of images by their embeddings, instead of predicting classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Searches for images in a gallery by their embeddings, instead of predicting classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identification: Option<Identification>,
    /// Subsets of the images or objects, by name, whose scores are reported apart: by a tag of the image, a part of its
    /// path, the size of objects, their mark as difficult, or masks such as shadows.
    #[serde(default, skip_serializing_if = "Subsets::is_empty")]
    #[schemars(schema_with = "super::schema::named::<Subset>")]
    pub subsets: Subsets,
    /// Chooses, on the validation images, the probability from which each class is predicted, and reports the decisions
    /// on those of the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// Corrects probabilities by what the validation images show, and reports how well they are calibrated before and
    /// after. Thresholds are then those of the corrected probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Test-time augmentation: each image is also predicted flipped and turned, and the predictions become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tta: Option<TestTimeAugmentation>,
    /// Side length of the square images in pixels, instead of the data set's.
    #[schemars(range(min = 1, max = 4096))]
    pub image_size: Option<usize>,
}

impl Evaluate {
    /// Whether it compares embeddings instead of predicting classes.
    pub fn compares_embeddings(&self) -> bool {
        self.verification.is_some() || self.identification.is_some()
    }
}

/// A split of a data set.
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

    /// As an adjective, as in `the training split`.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// As written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// The weights that a train stage saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// Of the epoch with the best monitored metric. If several are equal, the earliest.
    Best,
    /// Of the last epoch.
    Last,
}

/// The value of `from`: a stage, and after a train stage which of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<'a> {
    pub stage: &'a str,
    pub checkpoint: Option<CheckpointKind>,
}

impl<'a> Parent<'a> {
    /// Parses `pretrained`, `frozen@best` or `frozen@last`; `None` if another word follows the `@`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (stage, checkpoint) = match text.split_once('@') {
            None => (text, None),
            Some((stage, "best")) => (stage, Some(CheckpointKind::Best)),
            Some((stage, "last")) => (stage, Some(CheckpointKind::Last)),
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

    /// The stages whose weights this one reads, in order. Empty for a stage that initialises weights or reads a file.
    pub fn parents(&self) -> Vec<Parent<'_>> {
        let written: Vec<&String> = match self {
            Self::LoadWeights(load) => load.from.iter().chain(load.average.iter().flatten()).collect(),
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

    /// The model that the stage names. A train or evaluate stage has its parent's model.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::LoadWeights(load) => load.model.as_deref(),
            Self::InitWeights(init) => init.model.as_deref(),
            Self::Train(_) | Self::Evaluate(_) => None,
        }
    }

    /// The stage's own image size, instead of the data set's.
    pub fn image_size(&self) -> Option<usize> {
        match self {
            Self::LoadWeights(_) | Self::InitWeights(_) => None,
            Self::Train(train) => train.image_size,
            Self::Evaluate(evaluate) => evaluate.image_size,
        }
    }

    /// The data set that the stage names.
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

    /// The model that the stage names. A train or evaluate stage has its parent's model.
    pub(super) fn model_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::LoadWeights(load) => Some(&mut load.model),
            Self::InitWeights(init) => Some(&mut init.model),
            Self::Train(_) | Self::Evaluate(_) => None,
        }
    }
}
