//! Weights that a stage loads or initializes.

use serde::Serialize;

use super::ModelRecipe;
use super::engine::{CodePathVersions, engine};
use crate::digest::Digest;
use crate::pipeline;
use crate::stage::ModelSpec;
use crate::weights;

#[derive(Serialize)]
pub struct LoadWeightsRecipe<'a> {
    model: ModelRecipe<'a>,
    engine: CodePathVersions,
    settings: LoadSettings<'a>,
    /// None where the weights are those of a stage above: the stage consumes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<WeightsInput>,
}

/// The patterns of tensors that the stage may initialize.
#[derive(Serialize)]
struct LoadSettings<'a> {
    reinit: &'a [String],
    allow_missing: &'a [String],
    allow_mismatched: &'a [String],
    /// None where nothing is initialized.
    seed: Option<u64>,
}

#[derive(Serialize)]
struct WeightsInput {
    file: Digest,
}

impl<'a> LoadWeightsRecipe<'a> {
    /// `file` is the digest of the weights, unless they are those of a stage above.
    pub fn of(
        model_spec: &'a ModelSpec,
        settings: &'a pipeline::LoadWeights,
        seed: u64,
        file: Option<Digest>,
    ) -> Self {
        let pipeline::LoadWeights {
            // The recipe has the digest of the weights, not where they come from.
            file: _,
            from: _,
            pipeline: _,
            stage: _,
            // The subject has the model and its classes.
            model: _,
            data: _,
            // An unread tensor changes no byte of the result.
            allow_unexpected: _,
            reinit,
            allow_missing,
            allow_mismatched,
        } = settings;
        let initializes =
            [reinit, allow_missing, allow_mismatched].iter().any(|patterns| !patterns.is_empty());
        Self {
            model: ModelRecipe::of(model_spec),
            engine: engine(weights::code_paths::ALL.iter().copied()),
            settings: LoadSettings {
                reinit,
                allow_missing,
                allow_mismatched,
                seed: initializes.then_some(seed),
            },
            inputs: file.map(|file| WeightsInput { file }),
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
            engine: engine(weights::code_paths::ALL.iter().copied()),
            settings: InitSettings { seed },
        }
    }
}
