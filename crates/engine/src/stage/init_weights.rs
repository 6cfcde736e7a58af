//! Random weights, each from the seed and its own name: adding a layer changes no other's draw.

use serde_json::Value;

use super::recipe::{InitWeightsRecipe, Recipe};
use super::{Context, MODEL, Subject};
use crate::error::Result;
use crate::weights::{self, Dialect};

#[derive(Clone, Debug)]
pub struct InitWeights {
    pub subject: Subject,
    pub seed: u64,
}

impl InitWeights {
    /// The recipe.
    pub fn document(&self) -> Value {
        Recipe::InitWeights(InitWeightsRecipe::of(&self.subject, self.seed)).document()
    }

    pub fn execute(&self, context: &Context) -> Result<()> {
        let model = self.subject.build();
        let state = weights::initialize_all(&model.description, self.seed)?;
        context.save_model(MODEL, &self.subject, &model.description, &state, Dialect::Own).map(drop)
    }
}
