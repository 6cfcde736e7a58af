//! Models, as written in a pipeline file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model: an architecture and its head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The architecture, by torchvision's or timm's name.
    pub arch: Arch,
    /// What turns features into class scores.
    #[serde(default)]
    pub head: Head,
    /// In training, the share of images that skip the last residual block; it falls to 0 towards the first.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub stochastic_depth: f64,
}

impl Model {
    /// An architecture with all else at its default.
    pub fn of(arch: Arch) -> Self {
        Self { arch, head: Head::default(), stochastic_depth: 0.0 }
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
}

impl Arch {
    /// Whether `stochastic_depth` means something to it: whether the published network was trained with it.
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

    /// The side in pixels of the patches whose positions it has weights for: such weights are for one `image_size`.
    pub fn patch(self) -> Option<usize> {
        matches!(self, Self::VitS16 | Self::VitB16).then_some(16)
    }
}

/// What turns features into class scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Head {
    Linear(LinearHead),
}

impl Default for Head {
    fn default() -> Self {
        Self::Linear(LinearHead { dropout: 0.0 })
    }
}

/// One linear layer, under the name the architecture gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearHead {
    /// The share of features set to zero in training.
    #[serde(default)]
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
}
