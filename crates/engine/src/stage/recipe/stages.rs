//! The recipe of each stage kind.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::engine::CodePathVersions;
use super::{
    InitWeightsRecipe, LoadWeightsRecipe, ModelRecipe, ParametersRecipe, PreprocessRecipe, RecognitionRecipe,
    SplitRecipe, SubsetRecipe, TrainSettings,
};
use crate::pipeline::{Calibration, TestTimeAugmentation, Thresholds};

/// The recipe of a stage, but for the stages above it.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Recipe<'a> {
    LoadWeights(LoadWeightsRecipe<'a>),
    InitWeights(InitWeightsRecipe<'a>),
    Train(Box<TrainRecipe<'a>>),
    Evaluate(EvaluateRecipe<'a>),
}

impl Recipe<'_> {
    /// As data, of which canonical JSON is made.
    pub fn document(&self) -> Value {
        json!(self)
    }
}

#[derive(Serialize)]
pub struct TrainRecipe<'a> {
    pub model: ModelRecipe<'a>,
    pub settings: TrainSettings<'a>,
    pub parameters: ParametersRecipe<'a>,
    pub images: PreprocessRecipe,
    /// By split.
    pub inputs: BTreeMap<&'static str, SplitRecipe>,
    pub engine: CodePathVersions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<ModelRecipe<'a>>,
}

#[derive(Serialize)]
pub struct EvaluateRecipe<'a> {
    /// The only model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRecipe<'a>>,
    /// The models whose probabilities are averaged, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ensemble: Vec<ModelRecipe<'a>>,
    pub images: PreprocessRecipe,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognition: Option<RecognitionRecipe<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<&'a Thresholds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<&'a Calibration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tta: Option<TestTimeAugmentation>,
    /// The expression whose groups of images are drawn for confidence intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<&'a str>,
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subsets: BTreeMap<&'a str, SubsetRecipe>,
    /// By split.
    pub inputs: BTreeMap<&'static str, SplitRecipe>,
    pub engine: CodePathVersions,
}
