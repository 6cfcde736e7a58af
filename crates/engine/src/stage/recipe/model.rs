//! A model with its classes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::is_default;
use crate::model::AdapterSpec;
use crate::pipeline::{
    self, Arch, DetectHead, EmbeddingHead, Head, HeadActivation, LinearHead, MlpHead, PositionResampling,
    ProjectionHead, Variant,
};
use crate::stage::ModelSpec;

/// A model with its classes. Dropout and stochastic depth are settings of training.
#[derive(Serialize)]
pub struct ModelRecipe<'a> {
    arch: Arch,
    classes: &'a [String],
    /// The field of a task that has one, as `multi_label`.
    #[serde(flatten)]
    task: Option<BTreeMap<&'static str, bool>>,
    /// Of an architecture whose position embeddings are for one image size.
    #[serde(skip_serializing_if = "Option::is_none")]
    image_size: Option<usize>,
    /// Of images with another number of channels than three.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<usize>,
    #[serde(skip_serializing_if = "is_default")]
    variant: Variant,
    #[serde(skip_serializing_if = "is_default")]
    position_resampling: PositionResampling,
    /// A head that is not one linear layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<HeadRecipe<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<&'a AdapterSpec>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum HeadRecipe<'a> {
    Mlp {
        hidden: &'a [usize],
        activation: HeadActivation,
    },
    Embedding {
        dimension: usize,
        batch_norm: bool,
        /// Of class scores.
        #[serde(skip_serializing_if = "Option::is_none")]
        scale: Option<f64>,
        #[serde(skip_serializing_if = "is_true")]
        classifier: bool,
    },
    Detect {
        #[serde(skip_serializing_if = "Option::is_none")]
        class_width: Option<usize>,
    },
    Projection {
        hidden: usize,
        width: usize,
    },
}

impl<'a> ModelRecipe<'a> {
    pub fn of(model_spec: &'a ModelSpec) -> Self {
        let ModelSpec { model, classes, task, image_size, channels, adapter } = model_spec;
        let pipeline::Model { arch, variant, head, stochastic_depth: _, position_resampling } = model;
        Self {
            arch: *arch,
            classes,
            task: task.recipe_field().map(|field| BTreeMap::from([(field, true)])),
            image_size: arch.has_sized_positions().then_some(*image_size),
            channels: (*channels != pipeline::RGB_CHANNELS).then_some(*channels),
            variant: *variant,
            position_resampling: *position_resampling,
            head: HeadRecipe::of(head),
            adapter: adapter.as_ref(),
        }
    }
}

impl<'a> HeadRecipe<'a> {
    fn of(head: &'a Head) -> Option<Self> {
        match head {
            Head::Linear(LinearHead { dropout: _ }) => None,
            Head::Mlp(MlpHead { hidden, activation, dropout: _ }) => {
                Some(Self::Mlp { hidden, activation: *activation })
            }
            Head::Embedding(EmbeddingHead { dimension, batch_norm, scale, classifier, dropout: _ }) => {
                let scale = classifier.then_some(*scale);
                let (dimension, batch_norm, classifier) = (*dimension, *batch_norm, *classifier);
                Some(Self::Embedding { dimension, batch_norm, scale, classifier })
            }
            Head::Detect(DetectHead { class_width }) => Some(Self::Detect { class_width: *class_width }),
            Head::Projection(ProjectionHead { hidden, width }) => {
                Some(Self::Projection { hidden: *hidden, width: *width })
            }
        }
    }
}

fn is_true(value: &bool) -> bool {
    *value
}
