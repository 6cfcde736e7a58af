//! Models, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Normalize;

/// A model: an architecture and its head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The architecture, by torchvision's or timm's name.
    pub arch: Arch,
    /// The head, which computes class scores (logits) from features.
    #[serde(default)]
    pub head: Head,
    /// In training, the fraction of images that skip the last residual block. It falls linearly to 0 towards the first
    /// block.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub stochastic_depth: f64,
    /// How position embeddings are resampled if the images have another size than in pretraining. For `dinov2_vits14`
    /// only.
    #[serde(default, skip_serializing_if = "PositionResampling::is_default")]
    #[schemars(extend("default" = "scale_factor"))]
    pub position_resampling: PositionResampling,
}

impl Model {
    /// An architecture with default settings.
    pub fn of(arch: Arch) -> Self {
        Self {
            arch,
            head: Head::default(),
            stochastic_depth: 0.0,
            position_resampling: PositionResampling::default(),
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

/// The architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    #[serde(rename = "resnet18")]
    ResNet18,
    #[serde(rename = "resnet34")]
    ResNet34,
    #[serde(rename = "resnet50")]
    ResNet50,
    #[serde(rename = "resnet101")]
    ResNet101,
    #[serde(rename = "resnet152")]
    ResNet152,
    #[serde(rename = "mobilenet_v2")]
    MobileNetV2,
    #[serde(rename = "efficientnet_b0")]
    EfficientNetB0,
    #[serde(rename = "efficientnet_b1")]
    EfficientNetB1,
    #[serde(rename = "efficientnet_b2")]
    EfficientNetB2,
    #[serde(rename = "efficientnet_b3")]
    EfficientNetB3,
    #[serde(rename = "efficientnet_lite0")]
    EfficientNetLite0,
    #[serde(rename = "convnext_tiny")]
    ConvNextTiny,
    #[serde(rename = "vit_s_16")]
    VitS16,
    #[serde(rename = "vit_b_16")]
    VitB16,
    #[serde(rename = "dinov2_vits14")]
    DinoV2VitS14,
    #[serde(rename = "clip_vit_b32")]
    ClipVitB32,
    #[serde(rename = "siglip_base_patch16_224")]
    SiglipBase16,
}

/// The side lengths in pixels of the square images that an architecture accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSizes {
    Any,
    MultipleOf(usize),
    Only(usize),
}

impl Arch {
    /// Whether `stochastic_depth` applies to it: whether the published network was trained with it.
    pub fn has_stochastic_depth(self) -> bool {
        matches!(
            self,
            Self::EfficientNetB0
                | Self::EfficientNetB1
                | Self::EfficientNetB2
                | Self::EfficientNetB3
                | Self::EfficientNetLite0
                | Self::ConvNextTiny
        )
    }

    /// Whether it is a feature extractor only: it stays frozen in every stage, and only the head trains.
    pub fn is_encoder(self) -> bool {
        matches!(self, Self::DinoV2VitS14 | Self::ClipVitB32 | Self::SiglipBase16)
    }

    /// Whether it computes on GPUs. Models of candle-transformers compute on CPUs only.
    pub fn computes_on_gpus(self) -> bool {
        !matches!(self, Self::ClipVitB32 | Self::SiglipBase16)
    }

    /// Whether it has position embeddings, which are made for the `image_size` of the model's first stage.
    pub fn has_sized_positions(self) -> bool {
        matches!(self, Self::VitS16 | Self::VitB16)
    }

    /// Whether it computes the position embeddings for other image sizes from those of pretraining.
    pub fn resamples_positions(self) -> bool {
        matches!(self, Self::DinoV2VitS14)
    }

    pub fn image_sizes(self) -> ImageSizes {
        match self {
            Self::VitS16 | Self::VitB16 => ImageSizes::MultipleOf(16),
            Self::DinoV2VitS14 => ImageSizes::MultipleOf(14),
            Self::ClipVitB32 | Self::SiglipBase16 => ImageSizes::Only(224),
            _ => ImageSizes::Any,
        }
    }

    /// The channel statistics that its published weights were trained with, used if a data set gives none. The encoders
    /// have their own. Published weights of the others differ, and most use ImageNet's.
    pub fn normalize(self) -> Normalize {
        match self {
            Self::ClipVitB32 => Normalize::named("clip"),
            Self::SiglipBase16 => Normalize::named("inception"),
            _ => Normalize::default(),
        }
    }
}

/// The head, which computes class scores (logits) from features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    Linear(LinearHead),
    Mlp(MlpHead),
    Embedding(EmbeddingHead),
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
        }
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
/// `scale`.
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
    /// Dropout probability of the features.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}

fn yes() -> bool {
    true
}

fn default_scale() -> f64 {
    64.0
}
