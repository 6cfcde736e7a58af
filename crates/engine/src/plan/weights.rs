//! Weights that a stage loads: the source of each tensor, and whether all tensors exist.

use serde_json::Value;

use super::resolve::{DiskAccess, Resolver};
use crate::pipeline;
use crate::stage::{LoadWeightsStage, LocatedWeights, ModelSpec, ResolvedStage};
use crate::task::is_known;
use crate::weights::{LoadRules, WeightsFile, origins};

impl Resolver<'_> {
    pub(super) fn load_weights(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        above: Option<&ResolvedStage>,
        model_spec: ModelSpec,
    ) -> Option<(ResolvedStage, Value)> {
        let description = model_spec.build().description;
        let mut rules = match LoadRules::resolve(&description, load) {
            Ok(rules) => rules,
            Err(errors) => {
                self.rules(name, errors);
                // Without its rules, so that errors in the stages below are found too. It never runs.
                let (settings, seed) = (load.clone(), self.pipeline.seed);
                let (rules, names) = Default::default();
                let work = LoadWeightsStage { model_spec, settings, rules, names, seed };
                return Some((
                    ResolvedStage::LoadWeights(Box::new(work), LocatedWeights::Unknown),
                    Value::Null,
                ));
            }
        };
        rules.classes = Some(model_spec.classes.clone());
        let (mut weights, mut names) = (LocatedWeights::Unknown, None);
        let source = match (&load.file, above, &load.from) {
            (None, Some(above), Some(from)) => {
                let at = format!("stage.{name}.from");
                weights = LocatedWeights::Above;
                // If the classes are not known, they cannot be checked.
                let known =
                    [above.model_spec(), &model_spec].iter().all(|model_spec| is_known(&model_spec.classes));
                known.then(|| (at, above.model_spec().weights_file(from)))
            }
            (None, None, None) => match self.pipeline.elsewhere.get(name) {
                Some(other) => Some((format!("stage.{name}.stage"), self.other_pipeline(name, other)?)),
                None => None,
            },
            (Some(text), ..) if self.depth == DiskAccess::Inputs => {
                let at = format!("stage.{name}.file");
                let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(text))?;
                let source = WeightsFile::open(&path).and_then(|source| source.translated(&description));
                weights = LocatedWeights::File { path, digest: None };
                Some((at, source))
            }
            _ => None,
        };
        if let Some((at, source)) = source {
            let fits = source
                .and_then(|source| origins(&description, &source, &rules).map(|_| source.names_in_words()));
            names = self.or_diagnose(&at, "weights", fits)?;
        }
        let (settings, seed) = (load.clone(), self.pipeline.seed);
        let work = LoadWeightsStage { model_spec, settings, rules, names, seed };
        Some((ResolvedStage::LoadWeights(Box::new(work), weights), Value::Null))
    }
}
