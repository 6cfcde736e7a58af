//! A pipeline that passed every check of its shape: defaults merged, names filled in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use serde::Serialize;

use super::diagnostics::Diagnostic;
use super::document::Node;
use super::paths::{self, Unexpandable};
use super::{Data, Elsewhere, Model, Run, Stage};
use crate::error::{Error, Result};

/// A checked pipeline. Paths are kept as written: [`Resolved::path`] says where they lead.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub name: String,
    /// Which run of the file's matrix it is, as `arch=resnet50, seed=1`; none where the file has no matrix.
    pub label: Option<String>,
    pub seed: u64,
    pub data: BTreeMap<String, Data>,
    pub model: BTreeMap<String, Model>,
    /// In the order of the file, with defaults merged, and `data` and `model` filled in.
    pub stages: Vec<(String, Stage)>,
    pub run: Run,
    /// The file as the user named it.
    pub file: PathBuf,
    /// Its text, byte for byte.
    pub text: String,
    /// The folder that relative paths start from: that of the file. May be empty, for the current one.
    pub base: PathBuf,
    /// The stages of other pipelines that load stages take their weights from, by the names of the latter; empty where
    /// the pipeline was loaded without its inputs.
    pub elsewhere: BTreeMap<String, Elsewhere>,
    /// What is wrong with patterns in themselves: left by [`super::load_but_patterns`] to whoever resolves names.
    pub faults: Vec<Diagnostic>,
    /// What is probably not meant, and keeps nothing from running.
    pub warnings: Vec<Diagnostic>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) root: Node,
}

impl Resolved {
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|(stage, _)| stage == name).map(|(_, stage)| stage)
    }

    /// Where a path setting leads: variables replaced, relative to the pipeline file.
    ///
    /// Fails where a variable is not set, which only a pipeline loaded without its inputs can have.
    pub fn path(&self, text: &str) -> Result<PathBuf> {
        match paths::expand(text, |name| self.variables.get(name).cloned()) {
            Ok(expanded) => Ok(self.base.join(expanded)),
            Err(Unexpandable::Unset(name)) => {
                Err(Error::usage(format!("the environment variable `{name}` is not set"))
                    .hint(format!("set it: `{name}=… defrost …`")))
            }
            Err(Unexpandable::Malformed) => Err(Error::usage(format!("`{text}` has a malformed variable"))),
        }
    }

    /// The stages, parents first; otherwise in the order of the file.
    pub fn order(&self) -> Vec<&str> {
        let places: HashMap<&str, usize> =
            self.stages.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
        let mut waits = vec![0; self.stages.len()];
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); self.stages.len()];
        for (place, (_, stage)) in self.stages.iter().enumerate() {
            for parent in stage.parents() {
                waits[place] += 1;
                below[places[parent.stage]].push(place);
            }
        }
        let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|place| waits[*place] == 0).collect();
        let mut order = Vec::new();
        while let Some(place) = ready.pop_first() {
            order.push(self.stages[place].0.as_str());
            for &next in &below[place] {
                waits[next] -= 1;
                if waits[next] == 0 {
                    ready.insert(next);
                }
            }
        }
        assert_eq!(order.len(), self.stages.len(), "stages form no circle, which the loader checked");
        order
    }

    /// The same pipeline with one stage and those above it alone.
    pub(super) fn only(mut self, stage: &str) -> Self {
        let by_name: HashMap<&str, &Stage> =
            self.stages.iter().map(|(name, stage)| (name.as_str(), stage)).collect();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut next = vec![stage.to_owned()];
        while let Some(name) = next.pop() {
            if let (Some(stage), true) = (by_name.get(name.as_str()), wanted.insert(name.clone())) {
                next.extend(stage.parents().into_iter().map(|parent| parent.stage.to_owned()));
            }
        }
        self.stages.retain(|(name, _)| wanted.contains(name));
        self.elsewhere.retain(|name, _| wanted.contains(name));
        self
    }

    /// An error at the setting with that path, such as `stage.frozen.train[0]`; at the table that would hold it where
    /// the file leaves it out.
    pub fn diagnose(
        &self,
        path: &str,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) -> Diagnostic {
        Diagnostic::new(self.root.nearest(path).mark(), code, message).help(help)
    }

    /// The pipeline with everything merged and every default written out.
    ///
    /// Paths stay as the file has them (those of an extended file relative to the file that extends it), so the text
    /// holds no absolute path unless the file does, and runs when it lies in the folder of the pipeline file. `[run]`
    /// is left out: where and how fast changes no result, and must not change this text.
    pub fn to_toml(&self) -> String {
        #[derive(Serialize)]
        struct Head<'a> {
            name: &'a str,
            seed: u64,
        }
        let mut text =
            String::from("# Everything merged. Relative paths start at the folder of the pipeline file.\n");
        text += &to_toml(&Head { name: &self.name, seed: self.seed });
        for (name, data) in &self.data {
            text += &section("data", name, data);
        }
        for (name, model) in &self.model {
            text += &section("model", name, model);
        }
        for (name, stage) in &self.stages {
            text += &section("stage", name, stage);
        }
        text
    }
}

fn section(table: &str, name: &str, value: &impl Serialize) -> String {
    format!("\n{}", to_toml(&BTreeMap::from([(table, BTreeMap::from([(name, value)]))])))
}

fn to_toml(value: &impl Serialize) -> String {
    toml::to_string(value).expect("settings came from TOML and are within what it can say")
}
