//! Weights that a stage loads: which tensor comes from where, and whether all are there.

use serde_json::Value;

use super::datasets::is_known;
use super::resolve::{Depth, Resolver};
use crate::pipeline;
use crate::stage::{LoadWeights, Subject, Work};
use crate::weights::{self, LoadRules, Source};

impl Resolver<'_> {
    pub(super) fn load_weights(
        &mut self,
        name: &str,
        load: &pipeline::LoadWeights,
        above: Option<&Work>,
        subject: Subject,
    ) -> Option<(Work, Value)> {
        let description = subject.build().description;
        let mut rules = match LoadRules::resolve(&description, load) {
            Ok(rules) => rules,
            Err(errors) => {
                self.rules(name, errors);
                // Without its rules, so that what is wrong below it is found as well. It never runs.
                let (settings, seed) = (load.clone(), self.pipeline.seed);
                let (rules, file, digest, names) = Default::default();
                let work = LoadWeights { subject, file, digest, settings, rules, names, seed };
                return Some((Work::LoadWeights(Box::new(work)), Value::Null));
            }
        };
        rules.classes = Some(subject.classes.clone());
        let (mut file, mut names) = (None, None);
        let source = match (&load.file, above, &load.from) {
            (None, Some(above), Some(from)) => {
                let at = format!("stage.{name}.from");
                // Of classes that are not known here nothing can be said.
                let known = [above.subject(), &subject].iter().all(|subject| is_known(&subject.classes));
                known.then(|| (at, above.subject().source(from)))
            }
            (None, None, None) => match self.pipeline.elsewhere.get(name) {
                Some(other) => Some((format!("stage.{name}.stage"), self.other_pipeline(name, other)?)),
                None => None,
            },
            (Some(text), ..) if self.depth == Depth::Inputs => {
                let at = format!("stage.{name}.file");
                let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(text))?;
                let source = Source::open(&path).and_then(|source| source.translated(&description));
                file = Some(path);
                Some((at, source))
            }
            _ => None,
        };
        if let Some((at, source)) = source {
            let fits = source.and_then(|source| {
                weights::origins(&description, &source, &rules).map(|_| source.names_in_words())
            });
            names = self.or_diagnose(&at, "weights", fits)?;
        }
        Some((
            Work::LoadWeights(Box::new(LoadWeights {
                subject,
                file,
                digest: None,
                settings: load.clone(),
                rules,
                names,
                seed: self.pipeline.seed,
            })),
            Value::Null,
        ))
    }
}
