//! Recipes: all settings, inputs and code versions that can change the result of a stage, as typed records.
//!
//! Each record takes its fields out of the settings by an exhaustive pattern: a new setting does not compile until it is
//! either in the record or named as one that changes no result. A setting that is younger than the recipes is left out at
//! its default (`skip_serializing_if`), so that older keys stay. Records compute nothing and read no file.

mod engine;
mod features;
mod images;
mod model;
mod parameters;
mod preprocess;
mod recognition;
mod stages;
mod subsets;
mod train_settings;
mod weights;

pub(super) use engine::engine;
pub(super) use features::{FeaturesRecipe, RandomRecipe};
pub(super) use images::SplitRecipe;
pub(super) use model::ModelRecipe;
pub(super) use parameters::ParametersRecipe;
pub(super) use preprocess::PreprocessRecipe;
pub(super) use recognition::RecognitionRecipe;
pub(super) use stages::{EvaluateRecipe, Recipe, TrainRecipe};
pub(super) use subsets::SubsetRecipe;
pub(super) use train_settings::TrainSettings;
pub(super) use weights::{InitWeightsRecipe, LoadWeightsRecipe, RestoreInput, WeightsInputs};

/// Whether a setting has its default value, at which a recipe leaves it out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
