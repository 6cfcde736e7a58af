//! Models, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Arch;

/// A model: an architecture and its head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The architecture, by torchvision's, timm's or Ultralytics' name.
    pub arch: Arch,
    /// Whose padding and batch normalisation the network has, if several libraries have trained it. Tensors are the same in
    /// all. For EfficientNet and MobileNetV3 only.
    #[serde(default, skip_serializing_if = "Variant::is_default")]
    #[schemars(extend("default" = "torchvision"))]
    pub variant: Variant,
    /// The head, which computes class scores (logits) from features, or boxes and class scores from feature maps.
    #[serde(default)]
    pub head: Head,
    /// In training, the fraction of images that skip the last residual block. It falls linearly to 0 towards the first
    /// block.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub stochastic_depth: f64,
    /// How position embeddings are resampled if the images have another size than in pretraining. For DINOv2 only.
    #[serde(default, skip_serializing_if = "PositionResampling::is_default")]
    #[schemars(extend("default" = "scale_factor"))]
    pub position_resampling: PositionResampling,
}

impl Model {
    /// An architecture with default settings.
    pub fn of(arch: Arch) -> Self {
        Self {
            arch,
            variant: Variant::default(),
            head: Head::default(),
            stochastic_depth: 0.0,
            position_resampling: PositionResampling::default(),
        }
    }
}

/// How a network pads and normalises, by whose training its published weights are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// As torchvision. EfficientNet-B0 to -B4 of timm are the same.
    #[default]
    Torchvision,
    /// As timm trained it: an eps of 1e-5, for `mobilenetv3_large_100`, `mobilenetv3_small_100` and `efficientnetv2_s`.
    Timm,
    /// As TensorFlow: padding `SAME` and an eps of 1e-3, for timm's networks that begin with `tf_`.
    Tensorflow,
}

impl Variant {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// As it is written in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Torchvision => "torchvision",
            Self::Timm => "timm",
            Self::Tensorflow => "tensorflow",
        }
    }
}

/// Bicubic interpolation of position embeddings, as published implementations do it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PositionResampling {
    /// By a scale factor of (patches + 0.1) / 37, like facebookresearch's `dinov2_vits14`.
    #[default]
    ScaleFactor,
    /// To the number of patches, like `Dinov2Model` of Hugging Face transformers.
    Size,
    /// To the number of patches, antialiased, like facebookresearch's models with registers and timm.
    Antialias,
}

impl PositionResampling {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The head, which computes class scores (logits) from features, or boxes and class scores from feature maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    Linear(LinearHead),
    Mlp(MlpHead),
    Embedding(EmbeddingHead),
    Detect(DetectHead),
    Projection(ProjectionHead),
}

impl Default for Head {
    fn default() -> Self {
        Self::Linear(LinearHead { dropout: 0.0 })
    }
}

impl Head {
    /// The dropout probability.
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Linear(linear) => linear.dropout,
            Self::Mlp(mlp) => mlp.dropout,
            Self::Embedding(embedding) => embedding.dropout,
            Self::Detect(_) | Self::Projection(_) => 0.0,
        }
    }

    /// Whether it projects views of an image, to be compared with one another, and predicts nothing.
    pub fn compares_views(&self) -> bool {
        matches!(self, Self::Projection(_))
    }

    /// Whether its output is an embedding, to be compared with others, and no class scores.
    pub fn compares_embeddings(&self) -> bool {
        matches!(self, Self::Embedding(embedding) if !embedding.classifier)
    }

    /// Whether it finds objects.
    pub fn detects(&self) -> bool {
        matches!(self, Self::Detect(_))
    }
}

/// One linear layer, with the architecture's own name for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearHead {
    /// Dropout probability of the features.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

/// Linear layers, with an activation and dropout after each layer except the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MlpHead {
    /// Widths of the hidden layers, in order.
    #[schemars(length(min = 1), inner(range(min = 1, max = 65536)))]
    pub hidden: Vec<usize>,
    /// The activation after each hidden layer.
    #[serde(default)]
    pub activation: HeadActivation,
    /// Dropout probability after each hidden layer.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

/// The activation after hidden layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadActivation {
    #[default]
    Relu,
    Silu,
}

/// An embedding of each image, and one direction for each class. Class scores are the cosines between them, times
/// `scale`. With `classifier = false`, only the embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingHead {
    /// Dimension of the embedding.
    #[schemars(range(min = 1, max = 65536))]
    pub dimension: usize,
    /// Whether batch normalisation follows the linear layer, which then has no bias.
    #[serde(default = "yes")]
    pub batch_norm: bool,
    /// The factor that cosines are multiplied by before the softmax, in training and in evaluation. A higher factor
    /// gives sharper probabilities.
    #[serde(default = "default_scale")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub scale: f64,
    /// Whether the head has directions of classes, and so class scores. Without, its output is the embedding, for the losses
    /// `triplet` and `supcon`.
    #[serde(default = "yes")]
    pub classifier: bool,
    /// Dropout probability of the features.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

/// The boxes and classes of objects, at each place of three feature maps. For detectors only, such as `yolo11n`; with any
/// other head, a detector is its backbone and classifies images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectHead {
    /// Channels of the class branch. The default, as published, is the number of channels of the largest map, but at
    /// least the number of classes up to 100. A checkpoint of 80 classes fits a `yolo11n` of fewer classes only with
    /// `class_width = 80`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub class_width: Option<usize>,
}

/// The projection of SimCLR (Chen et al. 2020): linear, ReLU, linear. It is for `loss = { kind = "nt_xent" }` alone; its
/// features are what a later stage keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectionHead {
    /// Width of the hidden layer. SimCLR has that of the features.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden: usize,
    /// Width of the projection, on which views are compared. SimCLR has 128.
    #[schemars(range(min = 1, max = 65536))]
    pub width: usize,
}

fn yes() -> bool {
    true
}

/// The scale of an embedding head that sets none.
pub(super) const DEFAULT_SCALE: f64 = 64.0;

fn default_scale() -> f64 {
    DEFAULT_SCALE
}
