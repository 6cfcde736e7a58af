//! Random weights, each from the seed and its own name: adding a layer changes no other's draw.

use serde_json::{Value, json};

use super::work::engine;
use super::{Context, MODEL, Subject};
use crate::error::Result;
use crate::weights::{self, Dialect};

#[derive(Clone, Debug)]
pub struct InitWeights {
    pub subject: Subject,
    pub seed: u64,
}

impl InitWeights {
    pub fn document(&self) -> Value {
        json!({
            "kind": "init_weights",
            "model": self.subject.document(),
            "engine": engine(weights::code_paths::ALL.iter().copied()),
            "settings": { "seed": self.seed },
        })
    }

    pub fn execute(&self, context: &Context) -> Result<()> {
        let model = self.subject.build();
        let state = weights::initialize_all(&model.description, self.seed)?;
        context.save_model(MODEL, &self.subject, &model.description, &state, Dialect::Own).map(drop)
    }
}
