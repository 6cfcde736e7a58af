//! The features of frozen layers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::engine::CodePathVersions;
use super::{PreprocessRecipe, is_default};
use crate::digest::Digest;
use crate::pipeline::{Arch, Augment, FeatureType, PositionResampling, Variant};

/// What features are computed from, but for the images and the numeric profile: the address of a set in the store.
#[derive(Serialize)]
pub struct FeaturesRecipe<'a> {
    pub arch: Arch,
    pub layers: usize,
    /// The digests of all tensors that the layers read, by name.
    pub tensors: BTreeMap<&'a str, Digest>,
    pub images: PreprocessRecipe,
    /// The random changes to images, where there are any.
    pub random: Option<RandomRecipe<'a>>,
    pub dtype: FeatureType,
    pub engine: CodePathVersions,
    /// The layers whose outputs make up a row, where these are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub activations: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    pub variant: Variant,
    #[serde(skip_serializing_if = "is_default")]
    pub position_resampling: PositionResampling,
    /// Whether a row also has the size of its picture.
    #[serde(skip_serializing_if = "is_default")]
    pub picture_sizes: bool,
    /// The scale of adapters, where the layers have any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter_scale: Option<f64>,
}

#[derive(Serialize)]
pub struct RandomRecipe<'a> {
    pub augment: &'a Augment,
    pub seed: u64,
}
