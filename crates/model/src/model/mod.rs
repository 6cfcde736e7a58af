//! The architectures: one readable file each, the layers they are built of, and what can be said of them without a tensor.
//!
//! An architecture is written once. Building it against a `Scope` declares its tensors, which is all that a
//! [`Description`] needs; running it against a [`Pass`] computes. Patterns over the names it declares live here too.
//! The module reads no files and knows no stages.

mod activations;
mod adapter;
mod architectures;
#[doc(hidden)]
pub mod branching;
mod build;
mod candle_encoder;
mod clip;
pub mod code_paths;
mod convnext;
mod description;
mod dinov2;
mod efficientnet;
mod efficientnet_lite;
mod efficientnet_v2;
mod graph;
mod head;
mod inverted_bottleneck;
mod layers;
mod mobilenet_v2;
mod mobilenet_v3;
mod network;
mod pass;
mod pattern;
mod positions;
mod regnet;
mod resnet;
mod restore_norms;
mod rules;
mod saliency;
mod scope;
mod siglip;
mod swin;
pub mod trace;
mod vit;
pub mod yolo11;
mod yolo11_blocks;

pub use activations::{Activations, EMBEDDINGS, LOGITS, Outputs};
pub use adapter::{AdaptedLayer, AdapterSpec, Adapters, adapter_names, merge_adapters, module_of};
pub use architectures::backbone_code_paths;
pub use build::Model;
pub use description::{
    Description, Init, LayerInput, LayerOutput, LayerSpec, NormSpec, TensorId, TensorRole, TensorSpec,
};
pub use network::{Head, Network};
pub use pass::{BufferChange, BufferUpdates, NormMode, ParameterGradients, Pass, StateDict};
pub use rules::{PatternScope, RuleError, TensorSelection, select};
pub use saliency::SaliencyMap;

#[cfg(test)]
mod parity;
#[cfg(test)]
mod yolo11_tests;
