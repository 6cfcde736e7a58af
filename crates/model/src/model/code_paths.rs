//! The numeric code paths of architectures. A change that moves a result raises the version.

use crate::code_path::{CodePath, code_paths};

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
    YOLO11 = "yolo11", 1;
    MOBILENET_V3 = "mobilenet_v3", 1;
    EFFICIENTNET_V2 = "efficientnet_v2", 1;
    REGNET = "regnet", 1;
    SWIN = "swin", 1;
    /// How low-rank adapters begin, and how layers with them compute.
    LORA = "lora", 1;
    /// The statistics with which merged batch normalisation is put back.
    RESTORE_BATCH_NORM = "restore_batch_norm", 1;
}

/// In the recipe of every stage that computes with a model; those of later architectures enter the recipes of their own
/// stages alone.
pub const COMMON: &[CodePath] = &[ARCHITECTURES, MOBILENET_V2, EFFICIENTNET];

/// What candle computes, in bits that depend on the processor: a digest of them would hold on one machine alone.
pub const COMPUTED_BY_CANDLE: &[CodePath] = &[CLIP, SIGLIP];
