//! The numeric code paths of architectures. A change that moves a result raises the version.

use crate::code_path::{CodePath, code_paths};
use crate::ops::code_paths::{ATTENTION, GELU, LAYER_NORM, LAYER_SCALE, TOKENS};
use crate::pipeline::{Arch, Model};

code_paths! {
    /// What ResNets and EfficientNet-Lite compute in training and inference, and how running statistics move.
    ARCHITECTURES = "architectures", 2;
    MOBILENET_V2 = "mobilenet_v2", 1;
    EFFICIENTNET = "efficientnet", 2;
    CONVNEXT = "convnext", 1;
    VIT = "vit", 1;
    DINOV2 = "dinov2", 1;
    /// Position embeddings that are resampled in another way than the default.
    POSITION_RESAMPLING = "position_resampling", 1;
    CLIP = "clip", 1;
    SIGLIP = "siglip", 1;
}

/// In the recipe of every stage that computes with a model; those of later architectures enter the recipes of their own
/// stages alone.
pub const COMMON: &[CodePath] = &[ARCHITECTURES, MOBILENET_V2, EFFICIENTNET];

/// What candle computes, in bits that depend on the processor: a digest of them would hold on one machine alone.
pub const COMPUTED_BY_CANDLE: &[CodePath] = &[CLIP, SIGLIP];

/// What a model takes up to its head, beyond what is common.
pub fn of_backbone(model: &Model) -> Vec<CodePath> {
    let mut paths = of_architecture(model.arch).to_vec();
    paths.extend((!model.position_resampling.is_default()).then_some(POSITION_RESAMPLING));
    paths
}

/// What an architecture takes, of this room and of the operations.
fn of_architecture(arch: Arch) -> &'static [CodePath] {
    match arch {
        Arch::ResNet18
        | Arch::ResNet34
        | Arch::ResNet50
        | Arch::ResNet101
        | Arch::ResNet152
        | Arch::MobileNetV2
        | Arch::EfficientNetB0
        | Arch::EfficientNetB1
        | Arch::EfficientNetB2
        | Arch::EfficientNetB3
        | Arch::EfficientNetLite0 => &[],
        Arch::ConvNextTiny => &[CONVNEXT, LAYER_NORM, GELU, LAYER_SCALE],
        Arch::VitS16 | Arch::VitB16 => &[VIT, LAYER_NORM, GELU, ATTENTION, TOKENS],
        Arch::DinoV2VitS14 => &[DINOV2, LAYER_NORM, GELU, ATTENTION, TOKENS, LAYER_SCALE],
        Arch::ClipVitB32 => &[CLIP],
        Arch::SiglipBase16 => &[SIGLIP],
    }
}
