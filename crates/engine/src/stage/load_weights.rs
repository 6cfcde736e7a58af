//! Pretrained weights, taken over strictly.

use serde_json::Value;

use super::recipe::{LoadWeightsRecipe, Recipe};
use super::{DigestedWeights, MODEL, ModelSpec, StageContext};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::pipeline;
use crate::weights::{self, LoadRules, WeightsFile};

#[derive(Clone, Debug)]
pub struct LoadWeightsStage {
    pub model_spec: ModelSpec,
    pub settings: pipeline::LoadWeights,
    /// The settings' patterns, resolved.
    pub rules: LoadRules,
    /// Whose names the file has, in words, where they are not the model's own.
    pub names: Option<String>,
    pub seed: u64,
}

impl LoadWeightsStage {
    /// The recipe, but for the stages above. `file` has the weights, unless they are those of a stage above.
    pub fn document(&self, file: Option<&DigestedWeights>) -> Value {
        let digest = file.map(|file| file.digest);
        let recipe = LoadWeightsRecipe::of(&self.model_spec, &self.settings, self.seed, digest);
        Recipe::LoadWeights(recipe).document()
    }

    pub fn execute(&self, file: Option<&DigestedWeights>, context: &StageContext) -> Result<()> {
        let path = file.map_or_else(|| context.source(), |file| Ok(file.path.as_path()))?;
        let source = WeightsFile::open(path)?;
        if file.is_some_and(|planned| planned.digest != source.digest()) {
            return Err(Error::failed(format!("`{}` changed while the stage was running", path.display()))
                .hint("run again: the new file is another input"));
        }
        let model = self.model_spec.build();
        let source = source.translated(&model.description)?;
        if let Some(names) = source.names_in_words() {
            context.observer.event(&Event::WeightsNamed { stage: context.stage.to_owned(), names });
        }
        let state = weights::load(&model.description, &source, &self.rules, self.seed)?;
        context.save_model(MODEL, &self.model_spec, &model.description, &state, source.dialect()).map(drop)
    }
}
