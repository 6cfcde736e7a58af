//! The architectures: one readable file each, the layers they are built of, and what can be said of them without a tensor.
//!
//! An architecture is written once. Building it against a `Scope` declares its tensors, which is all that a
//! [`Description`] needs; running it against a [`Pass`] computes. Patterns over the names it declares live here too.
//! The room reads no files and knows no stages.

mod build;
mod description;
mod efficientnet;
mod efficientnet_lite;
mod head;
mod inverted_bottleneck;
mod layers;
mod mobilenet_v2;
mod pass;
mod pattern;
mod resnet;
mod rules;
mod scope;

pub use build::{Model, Network};
pub use description::{Description, Init, LayerSpec, NormSpec, Role, TensorId, TensorSpec};
pub use pass::{BufferUpdates, NormMode, ParameterGradients, Pass, State};
pub(crate) use pattern::nearest;
pub use pattern::{Pattern, PatternError};
pub use rules::{RuleError, Selection, Sight, select};

#[cfg(test)]
mod parity;

/// The versions of the numeric code paths here, for recipes: a change that moves a result raises its number.
///
/// `architectures` covers what ResNets and EfficientNet-Lite compute in training and inference, and how running statistics
/// move; the others, what theirs do.
pub const VERSIONS: &[(&str, u32)] = &[("architectures", 2), ("mobilenet_v2", 1), ("efficientnet", 2)];
