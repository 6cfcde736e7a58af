//! Random weights, each from the seed and its own name: adding a layer changes no other's draw.

use serde_json::Value;

use super::recipe::{InitWeightsRecipe, Recipe};
use super::{MODEL, ModelSpec, StageContext};
use crate::error::Result;
use crate::weights::{self, Dialect};

#[derive(Clone, Debug)]
pub struct InitWeightsStage {
    pub model_spec: ModelSpec,
    pub seed: u64,
}

impl InitWeightsStage {
    /// The recipe.
    pub fn document(&self) -> Value {
        Recipe::InitWeights(InitWeightsRecipe::of(&self.model_spec, self.seed)).document()
    }

    pub fn execute(&self, context: &StageContext) -> Result<()> {
        let model = self.model_spec.build();
        let state = weights::initialize_all(&model.description, self.seed)?;
        context.save_model(MODEL, &self.model_spec, &model.description, &state, Dialect::Own).map(drop)
    }
}
