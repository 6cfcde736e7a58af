//! A file on its way to being a pipeline: what could be read of it so far, and what is wrong.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::diagnostics::{Diagnostic, Place};
use super::document::Node;
use super::suggest;
use super::{Data, Model, Stage};

/// Entries that could not be read are `None`, so that one wrong key does not hide what is wrong elsewhere.
pub struct Draft<'a> {
    pub root: &'a Node,
    pub data: BTreeMap<String, Option<Data>>,
    pub model: BTreeMap<String, Option<Model>>,
    /// In the order of the file.
    pub stages: Vec<(String, Option<Stage>)>,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Draft<'a> {
    pub fn new(root: &'a Node) -> Self {
        let mut draft = Self {
            root,
            data: entries(root, "data").collect(),
            model: entries(root, "model").collect(),
            stages: entries(root, "stage").collect(),
            diagnostics: Vec::new(),
        };
        draft.fill_names();
        draft
    }

    /// The value at a path, or the name of the innermost table that holds it.
    pub fn place(&self, path: &str) -> &'a Place {
        self.root.nearest(path).mark()
    }

    /// The key at a path.
    pub fn key(&self, path: &str) -> &'a Place {
        let node = self.root.nearest(path);
        node.key.as_ref().unwrap_or(&node.place)
    }

    pub fn report(
        &mut self,
        place: &Place,
        code: &'static str,
        message: String,
        help: impl Into<Option<String>>,
    ) {
        self.diagnostics.push(Diagnostic::new(place, code, message).help(help));
    }

    /// Whether the train stage of that name has a validation split; `None` where that cannot be said.
    pub fn trains_with_validation(&self, stage: &str) -> Option<bool> {
        let (_, stage) = self.stages.iter().find(|(name, _)| name == stage)?;
        Some(self.data.get(stage.as_ref()?.data()?)?.as_ref()?.has_validation())
    }

    /// `data` and `model` may be left out where the file has one.
    fn fill_names(&mut self) {
        let mut stages = std::mem::take(&mut self.stages);
        for (name, stage) in &mut stages {
            let Some(stage) = stage else { continue };
            let known = self.data.keys().cloned().collect();
            self.fill(name, "data", stage.data_mut(), known);
            if let Some(model) = stage.model_mut() {
                let known = self.model.keys().cloned().collect();
                self.fill(name, "model", model, known);
            }
        }
        self.stages = stages;
    }

    fn fill(&mut self, stage: &str, what: &str, named: &mut Option<String>, known: Vec<String>) {
        let names = known.iter().map(String::as_str);
        match (named.as_deref(), known.as_slice()) {
            (None, [only]) => *named = Some(only.clone()),
            (None, []) => {}
            (None, several) => {
                let message = format!("the file has {} `{what}` tables: say which", several.len());
                let help = format!("write `{what} = …`; there are {}", suggest::list(names));
                self.report(self.place(&format!("stage.{stage}")), "ambiguous", message, help);
            }
            (Some(name), several) if !several.is_empty() && !known.contains(&name.to_owned()) => {
                let help = suggest::help(name, "there are", names);
                let place = self.place(&format!("stage.{stage}.{what}"));
                let code = if what == "data" { "unknown-data" } else { "unknown-model" };
                self.report(place, code, format!("unknown {what} `{name}`"), help);
            }
            (Some(_), _) => {}
        }
    }
}

fn entries<'a, T: DeserializeOwned>(
    root: &'a Node,
    key: &str,
) -> impl Iterator<Item = (String, Option<T>)> + 'a {
    let entries = root.get(key).map(Node::entries).unwrap_or_default();
    entries.iter().map(|(name, node)| (name.clone(), serde_json::from_value(node.to_json()).ok()))
}
