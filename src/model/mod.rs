//! The architectures: one readable file each, the layers they are built of, and what can be said of them without a tensor.
//!
//! An architecture is written once. Building it against a [`Scope`] declares its tensors, which is all that
//! `describe` needs; running it against a [`Pass`] computes. The room reads no files and knows no stages.

mod description;
mod layers;
mod pass;

pub use description::{Description, Init, LayerSpec, NormSpec, Role, Scope, TensorId, TensorSpec};
pub use pass::{NormMode, Pass, State};

use crate::autograd::Value;
use crate::error::Result;
use crate::pipeline;

/// A network as a chain of layers, in the order that depth settings count and `params` prints.
///
/// The longest prefix of the chain without anything trainable is what runs as plain inference and may be cached.
pub trait Network: Send + Sync {
    /// Runs layer `index` of [`Description::layers`] on [N, H, W, C] (the head's result is [N, classes]).
    fn layer(&self, index: usize, pass: &mut Pass, input: Value) -> Result<Value>;
}

/// An architecture with its head, ready to compute with any [`State`] of its shape.
pub struct Model {
    pub description: Description,
    network: Box<dyn Network>,
}

impl Model {
    /// Builds `spec` with a head for `classes` classes.
    pub fn build(spec: &pipeline::Model, classes: usize) -> Model {
        todo!()
    }

    /// Runs the layers `range` of the chain.
    pub fn forward(&self, pass: &mut Pass, mut range: std::ops::Range<usize>, input: Value) -> Result<Value> {
        range.try_fold(input, |value, index| self.network.layer(index, pass, value))
    }
}
