//! The architectures: one readable file each, the layers they are built of, and what can be said of them without a tensor.
//!
//! An architecture is written once. Building it against a `Scope` declares its tensors, which is all that a
//! [`Description`] needs; running it against a [`Pass`] computes. Patterns over the names it declares live here too.
//! The room reads no files and knows no stages.

mod build;
mod candle_encoder;
mod clip;
mod convnext;
mod description;
mod dinov2;
mod efficientnet;
mod efficientnet_lite;
mod head;
mod inverted_bottleneck;
mod layers;
mod mobilenet_v2;
mod pass;
mod pattern;
mod positions;
mod resnet;
mod rules;
mod scope;
mod siglip;
mod vit;

pub use build::{Model, Network};
pub use description::{Description, Init, LayerSpec, NormSpec, Role, TensorId, TensorSpec};
pub use pass::{BufferUpdates, NormMode, ParameterGradients, Pass, State};
pub use pattern::{Pattern, PatternError};
pub use rules::{RuleError, Selection, Sight, select};

use crate::pipeline::Arch;

#[cfg(test)]
mod parity;

/// The versions of the numeric code paths here, for recipes: a change that moves a result raises its number.
///
/// `architectures` covers what ResNets and EfficientNet-Lite compute in training and inference, and how running statistics
/// move; the others, what theirs do.
pub const VERSIONS: &[(&str, u32)] = &[("architectures", 2), ("mobilenet_v2", 1), ("efficientnet", 2)];

/// The same of architectures that came later: they enter the recipes of their own stages alone.
pub const RARE_VERSIONS: &[(&str, u32)] = &[("convnext", 1), ("vit", 1), ("dinov2", 1)];

/// The same of what candle computes, in bits that are the processor's too: a digest of them would hold on one machine alone.
pub const CANDLE_VERSIONS: &[(&str, u32)] = &[("clip", 1), ("siglip", 1)];

/// The rare code paths, of this room and of the operations, that an architecture takes.
pub fn rare_paths(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::ConvNextTiny => &["convnext", "layer_norm", "gelu", "layer_scale"],
        Arch::VitS16 | Arch::VitB16 => &["vit", "layer_norm", "gelu", "attention", "tokens"],
        Arch::DinoV2VitS14 => &["dinov2", "layer_norm", "gelu", "attention", "tokens", "layer_scale"],
        Arch::ClipVitB32 => &["clip"],
        Arch::SiglipBase16 => &["siglip"],
        _ => &[],
    }
}
