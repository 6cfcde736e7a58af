//! Weights that a stage loads or initializes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::engine::{CodePathVersions, engine};
use super::{ModelRecipe, PreprocessRecipe, SplitRecipe};
use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::digest::Digest;
use crate::error::Result;
use crate::pipeline::{self, ClassRows, FirstConv, RestoreBatchNorm};
use crate::stage::{ModelSpec, Preprocess};
use crate::weights;

#[derive(Serialize)]
pub struct LoadWeightsRecipe<'a> {
    model: ModelRecipe<'a>,
    engine: CodePathVersions,
    settings: LoadSettings<'a>,
    #[serde(skip_serializing_if = "WeightsInputs::is_empty")]
    inputs: WeightsInputs,
}

/// The settings that can change the result. Those after the seed are younger than the recipes.
#[derive(Serialize)]
struct LoadSettings<'a> {
    reinit: &'a [String],
    allow_missing: &'a [String],
    allow_mismatched: &'a [String],
    /// None where nothing is initialized.
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_rows: Option<&'a ClassRows>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    file_classes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    first_conv: Option<FirstConv>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_batch_norm: Option<RestoreBatchNorm>,
}

#[derive(Default, Serialize)]
pub struct WeightsInputs {
    /// The digest of the weights. None where they are those of a stage above: the stage consumes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Digest>,
    /// The digest of the adapters that are merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Digest>,
    /// The images from which batch normalisation is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<RestoreInput>,
}

impl WeightsInputs {
    fn is_empty(&self) -> bool {
        self.file.is_none() && self.adapter.is_none() && self.restored_from.is_none()
    }
}

/// Training images, and how they are seen.
#[derive(Serialize)]
pub struct RestoreInput {
    images: PreprocessRecipe,
    inputs: BTreeMap<&'static str, SplitRecipe>,
}

impl RestoreInput {
    /// # Errors
    /// A bug: an image without a digest.
    pub fn new(preprocess: &Preprocess, dataset: &Dataset) -> Result<Self> {
        let inputs = SplitRecipe::by_name(dataset, &[Split::Train])?;
        Ok(Self { images: PreprocessRecipe::of(preprocess), inputs })
    }
}

impl<'a> LoadWeightsRecipe<'a> {
    pub fn of(
        model_spec: &'a ModelSpec,
        settings: &'a pipeline::LoadWeights,
        seed: u64,
        code_paths: Vec<CodePath>,
        inputs: WeightsInputs,
    ) -> Self {
        let pipeline::LoadWeights {
            // The recipe has the digest of the weights, not where they come from.
            file: _,
            sha256: _,
            from: _,
            average: _,
            pipeline: _,
            stage: _,
            adapter_file: _,
            // The subject has the model and its classes; images are found by their digests.
            model: _,
            data: _,
            // An unread tensor changes no byte of the result.
            allow_unexpected: _,
            reinit,
            allow_missing,
            allow_mismatched,
            class_rows,
            file_classes,
            first_conv,
            restore_batch_norm,
        } = settings;
        let patterns = [reinit, allow_missing, allow_mismatched];
        let initializes = patterns.iter().any(|patterns| !patterns.is_empty())
            || class_rows.is_some()
            || *first_conv == Some(FirstConv::First);
        Self {
            model: ModelRecipe::of(model_spec),
            engine: engine(code_paths),
            settings: LoadSettings {
                reinit,
                allow_missing,
                allow_mismatched,
                seed: initializes.then_some(seed),
                class_rows: class_rows.as_ref(),
                file_classes,
                first_conv: *first_conv,
                restore_batch_norm: *restore_batch_norm,
            },
            inputs,
        }
    }
}

#[derive(Serialize)]
pub struct InitWeightsRecipe<'a> {
    model: ModelRecipe<'a>,
    engine: CodePathVersions,
    settings: InitSettings,
}

#[derive(Serialize)]
struct InitSettings {
    seed: u64,
}

impl<'a> InitWeightsRecipe<'a> {
    pub fn of(model_spec: &'a ModelSpec, seed: u64) -> Self {
        Self {
            model: ModelRecipe::of(model_spec),
            engine: engine(weights::code_paths::COMMON.iter().copied()),
            settings: InitSettings { seed },
        }
    }
}
