//! The frozen prefix: the number of layers below everything that trains, and whether their features are cached.

use serde::Serialize;
use serde_json::{Value, json};

use super::model_spec::ADAPTER_CODE_PATHS;
use super::recipe::{FeaturesRecipe, PreprocessRecipe, RandomRecipe, engine};
use super::{ModelSpec, Preprocess};
use crate::code_path::CodePath;
use crate::error::Result;
use crate::freeze::{FreezePhase, ParameterTable};
use crate::model::{Description, LayerInput, StateDict, TensorRole};
use crate::pipeline::{self, Augment, FeatureType, LabelKind};
use crate::{data, model, ops, weights};

/// The layers that run as inference because nothing in them trains, and whether they run once or in every epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrozenPrefix {
    /// The number of finished epochs of the stage when this prefix begins.
    pub after_epochs: u32,
    pub layers: usize,
    /// The type of stored features.
    pub kind: FeatureType,
    /// The number of cached augmented views per training image; `None` if the image is the same in every epoch.
    pub views: Option<u32>,
    /// Why the features are not cached across epochs, if they are not.
    pub recomputed: Option<&'static str>,
}

impl FrozenPrefix {
    /// The prefixes of a train stage in order: they become shorter as deeper layers are unfrozen.
    pub fn of_training(
        description: &Description,
        table: &ParameterTable,
        settings: &pipeline::Train,
    ) -> Vec<Self> {
        let mut prefixes: Vec<Self> =
            table.phases.iter().map(|phase| Self::new(description, phase, settings)).collect();
        prefixes.dedup_by_key(|prefix| prefix.layers);
        prefixes
    }

    fn new(description: &Description, phase: &FreezePhase, settings: &pipeline::Train) -> Self {
        let layers = phase.frozen_prefix(description);
        let features = settings.features.clone().unwrap_or_default();
        let recomputed = if layers == 0 {
            Some("the first layer trains")
        } else if settings.distill.is_some() {
            Some("the teacher sees every image in every epoch")
        } else if settings.augment == Augment::default() || features.views.is_some() {
            None
        } else if settings.augment.mosaic.is_some() {
            Some("`mosaic` changes the images every epoch")
        } else {
            Some("the augmentation changes the images every epoch")
        };
        // Images themselves are not rounded.
        let kind = if layers == 0 { FeatureType::F32 } else { features.dtype };
        Self { after_epochs: phase.after_epochs, layers, kind, views: features.views, recomputed }
    }

    /// The first layers of a model, for images that are the same every time.
    pub fn without_features(layers: usize) -> Self {
        let recomputed = (layers == 0).then_some("no layer is known to be frozen");
        Self { after_epochs: 0, layers, kind: FeatureType::F32, views: None, recomputed }
    }

    /// The epoch number for augmentation draws: the view's if views are cached, else the epoch's own.
    pub fn view(&self, epoch: u32) -> u32 {
        self.views.map_or(epoch, |views| epoch % views)
    }
}

/// The description of features, without the images and the numeric profile: the address of a set.
///
/// Only what the layers read enters: a trained head or a batch count does not change features. `random` are the
/// random changes and their seed, if there are any. Rows of images with boxes have one more tensor.
pub(super) fn cache_identity(
    model_spec: &ModelSpec,
    description: &Description,
    state: &StateDict,
    prefix: &FrozenPrefix,
    preprocess: &Preprocess,
    labels: LabelKind,
    random: Option<(&Augment, u64)>,
) -> Result<Value> {
    let read = description.tensors.iter().zip(&state.tensors);
    let read: Vec<_> =
        read.filter(|(spec, _)| spec.layer < prefix.layers && spec.role != TensorRole::BatchCount).collect();
    let tensors = StateDict { tensors: read.iter().map(|(_, tensor)| (*tensor).clone()).collect() };
    let digests = weights::digests(&tensors)?;
    let names = read.iter().map(|(spec, _)| spec.name.as_str());
    let activation = |input: &LayerInput| match input {
        LayerInput::Image => "image",
        LayerInput::Layer(index) => description.layers[*index].name.as_str(),
    };
    let mut activations: Vec<&str> = description.crossing(prefix.layers).iter().map(activation).collect();
    if activations.len() == 1 {
        activations.clear();
    }
    let is_read = |weight: &usize| description.tensors[*weight].layer < prefix.layers;
    let adapter_scale = description.adapters.layers.keys().any(is_read).then_some(description.adapters.scale);
    let mut code_paths = code_paths(model_spec, preprocess, random.map(|(augment, _)| augment));
    code_paths.extend(adapter_scale.iter().flat_map(|_| ADAPTER_CODE_PATHS));
    Ok(json!(FeaturesRecipe {
        arch: model_spec.model.arch,
        layers: prefix.layers,
        tensors: names.zip(digests).collect(),
        images: PreprocessRecipe::of_features(preprocess),
        random: random.map(|(augment, seed)| RandomRecipe { augment, seed }),
        dtype: prefix.kind,
        engine: engine(code_paths),
        activations,
        variant: model_spec.model.variant,
        position_resampling: model_spec.model.position_resampling,
        picture_sizes: labels == LabelKind::Boxes,
        adapter_scale,
    }))
}

/// The code that affects the features of frozen layers, including random changes of their images.
pub(super) fn code_paths(
    model_spec: &ModelSpec,
    preprocess: &Preprocess,
    augment: Option<&Augment>,
) -> Vec<CodePath> {
    let common = [
        ops::code_paths::COMMON,
        model::code_paths::COMMON,
        data::code_paths::COMMON,
        crate::features::code_paths::ALL,
    ];
    let mut paths = common.concat();
    paths.extend(model::backbone_code_paths(&model_spec.model));
    // Rows are found by the content of images, whatever their format.
    paths.extend(data::code_paths::of_formats());
    paths.extend(data::code_paths::of_pixels(&preprocess.0));
    paths.extend(augment.map(data::code_paths::of_augment).unwrap_or_default());
    paths
}
