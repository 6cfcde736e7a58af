//! What an architecture consists of: the layers ahead of the head, the head, and how both are built.

use super::activations::Activations;
use super::pass::Pass;
use super::scope::Scope;
use crate::autograd::Value;
use crate::code_path::CodePath;
use crate::error::{Error, Result};
use crate::pipeline;

/// The layers of an architecture ahead of its head, in the order that depth settings count and `params` prints.
///
/// Each layer reads what its [`LayerSpec`](super::LayerSpec) says, usually the layer before it. The longest run of first
/// layers without anything trainable runs as plain inference, and what crosses its end may be cached: the last layer of
/// a classifier therefore ends in the pooled features, a few kilobytes for each image.
pub trait Network: Send + Sync {
    /// Runs layer `index` of [`Description::layers`](super::Description::layers) on what it reads, in that order. Images
    /// are [N, H, W, C].
    ///
    /// The last layer hands the last feature map to [`Pass::average_features`] or [`Pass::feature_map`], so that
    /// predictions can be explained.
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value>;

    /// Whether another library computes it, so that a pass does not see its operations.
    fn is_opaque(&self) -> bool {
        false
    }
}

/// The last layer of a model: from features to outputs.
pub trait Head: Send + Sync {
    /// The names of the outputs, in order.
    fn outputs(&self) -> &'static [&'static str];

    /// The outputs in the order of their names. `features` are what the layer reads, in the order of the layers.
    fn forward(&self, pass: &mut Pass, features: Activations) -> Result<Activations>;

    /// Whether it has embeddings.
    fn embeds(&self) -> bool {
        false
    }

    /// The embeddings [N, D] of features.
    ///
    /// # Errors
    /// The head has none.
    fn embed(&self, _pass: &mut Pass, _features: Activations) -> Result<Value> {
        Err(Error::bug("embeddings of a head that has none"))
    }
}

/// An architecture without its head, whose last layer ends in features [N, C].
pub struct Backbone {
    /// What it has declared.
    pub scope: Scope,
    pub network: Box<dyn Network>,
    /// The number of features of an image.
    pub features: usize,
    /// The module that the architecture calls its head.
    pub head: &'static str,
}

/// An architecture with its head.
pub struct Architecture {
    /// What both have declared; the last layer is the head.
    pub scope: Scope,
    pub network: Box<dyn Network>,
    pub head: Box<dyn Head>,
}

/// What an architecture is built for.
pub struct BuildOptions<'a> {
    pub settings: &'a pipeline::Model,
    pub classes: usize,
    /// The side in pixels of the images that position embeddings are for, where the architecture has any.
    pub image_size: usize,
    /// The number of channels of the images: 3, or any for architectures that say so in the table.
    pub channels: usize,
}

impl BuildOptions<'_> {
    /// The architecture's name in files.
    pub fn name(&self) -> &'static str {
        self.settings.arch.name()
    }
}

/// An architecture in the table of [`Arch`](pipeline::Arch).
pub struct ArchSpec {
    /// Declares its tensors; takes no weights and allocates none.
    pub build: fn(&BuildOptions) -> Architecture,
    /// The numeric code paths that it takes beyond those of every model.
    pub code_paths: &'static [CodePath],
}
