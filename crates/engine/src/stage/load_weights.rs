//! Pretrained weights, taken over strictly.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::work::engine;
use super::{Context, MODEL, Subject};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::pipeline;
use crate::weights::{self, LoadRules, Source};

#[derive(Clone, Debug)]
pub struct LoadWeights {
    pub subject: Subject,
    /// Absent where the weights are those of a stage above, or of another pipeline and not looked up yet, or when planned
    /// without inputs.
    pub file: Option<PathBuf>,
    /// The digest of the file as planned; absent when planned without inputs.
    pub digest: Option<Digest>,
    pub settings: pipeline::LoadWeights,
    /// The settings' patterns, resolved.
    pub rules: LoadRules,
    /// Whose names the file has, in words, where they are not the model's own.
    pub names: Option<String>,
    pub seed: u64,
}

impl LoadWeights {
    /// Which tensors may stay unread changes no byte, so `allow_unexpected` is left out; the seed matters only where
    /// something is initialised.
    pub fn document(&self) -> Option<Value> {
        let settings = &self.settings;
        let initializes = !(settings.reinit.is_empty()
            && settings.allow_missing.is_empty()
            && settings.allow_mismatched.is_empty());
        let mut document = json!({
            "kind": "load_weights",
            "model": self.subject.document(),
            "engine": engine(weights::code_paths::ALL.iter().copied()),
            "settings": {
                "reinit": settings.reinit,
                "allow_missing": settings.allow_missing,
                "allow_mismatched": settings.allow_mismatched,
                "seed": initializes.then_some(self.seed),
            },
        });
        // The weights of a stage above are what the stage consumes.
        if settings.from.is_none() {
            document["inputs"] = json!({ "file": self.digest? });
        }
        Some(document)
    }

    pub fn execute(&self, context: &Context) -> Result<()> {
        let file = self.file.as_deref().map_or_else(|| context.source(), Ok)?;
        let source = Source::open(file)?;
        if self.digest.is_some_and(|planned| planned != source.digest()) {
            return Err(Error::failed(format!("`{}` changed while the stage was running", file.display()))
                .hint("run again: the new file is another input"));
        }
        let model = self.subject.build();
        let source = source.translated(&model.description)?;
        if let Some(names) = source.names_in_words() {
            context.observer.event(&Event::WeightsNamed { stage: context.stage.to_owned(), names });
        }
        let state = weights::load(&model.description, &source, &self.rules, self.seed)?;
        context.save_model(MODEL, &self.subject, &model.description, &state, source.dialect()).map(drop)
    }
}
