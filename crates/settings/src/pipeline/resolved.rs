//! A pipeline that passed all checks of this module: defaults are merged and names are filled in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::diagnostics::Diagnostic;
use super::document::Node;
use super::paths::{self, ExpandError};
use super::{
    Data, ExternalStage, FetchedWeights, LoadWeights, Model, RemoteWeights, Run, RunOfSearch, SplitFolders,
    Stage,
};
use crate::error::{Error, Result};

/// A checked pipeline. Paths are kept as written; [`Resolved::path`] resolves them.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub name: String,
    /// The label of the run in the file's matrix, such as `arch=resnet50, seed=1`; `None` without a matrix.
    pub label: Option<String>,
    pub seed: u64,
    pub data: BTreeMap<String, Data>,
    pub model: BTreeMap<String, Model>,
    /// In the order of the file, with defaults merged and `data` and `model` filled in.
    pub stages: Vec<(String, Stage)>,
    pub run: Run,
    /// The file as the user named it.
    pub file: PathBuf,
    /// Its text, byte for byte.
    pub text: Arc<str>,
    /// The folder of the file, which relative paths start from. May be empty, for the current folder.
    pub base: PathBuf,
    /// The stages of other pipelines that `load_weights` stages read weights from, by the names of the latter. Empty if
    /// the pipeline was loaded without its inputs.
    pub elsewhere: BTreeMap<String, ExternalStage>,
    /// Fetched weights by the `file` of stages, with variables replaced.
    pub fetched: BTreeMap<String, FetchedWeights>,
    /// Errors in the patterns themselves, which [`super::load_but_patterns`] leaves to the caller that resolves names.
    pub faults: Vec<Diagnostic>,
    /// Warnings: settings that are probably a mistake, but do not prevent a run.
    pub warnings: Vec<Diagnostic>,
    /// Its place in the search of the file. `None` without a search, and for a sample that was selected by its label.
    pub of_search: Option<RunOfSearch>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) root: Node,
}

impl Resolved {
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|(stage, _)| stage == name).map(|(_, stage)| stage)
    }

    /// The weights that stages load by name, each once; also those of the other pipelines that it loads weights from.
    pub fn remote_weights(&self) -> Vec<RemoteWeights> {
        let own =
            self.stages.iter().filter_map(|(_, stage)| self.remote_weights_of(stage)).map(|(_, name)| name);
        let others = self.elsewhere.values().flat_map(|other| other.pipeline.remote_weights());
        own.chain(others).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Those of them that are not fetched yet.
    pub fn unfetched_weights(&self) -> Vec<RemoteWeights> {
        let named = self.stages.iter().filter_map(|(_, stage)| self.remote_weights_of(stage));
        let own = named.filter(|(text, _)| !self.fetched.contains_key(text)).map(|(_, name)| name);
        let others = self.elsewhere.values().flat_map(|other| other.pipeline.unfetched_weights());
        own.chain(others).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Looks all of them up. Later, [`Self::weights_path`] returns the fetched files.
    pub fn locate_weights(&mut self, find: &dyn Fn(&RemoteWeights) -> Option<FetchedWeights>) {
        let named = self.stages.iter().filter_map(|(_, stage)| self.remote_weights_of(stage));
        self.fetched = named.filter_map(|(text, name)| Some((text, find(&name)?))).collect();
        self.elsewhere.values_mut().for_each(|other| other.pipeline.locate_weights(find));
    }

    /// The name of the weights that a stage loads, also as it is written. `None` if it loads a local file, or none.
    pub fn remote_weights_of(&self, stage: &Stage) -> Option<(String, RemoteWeights)> {
        let Stage::LoadWeights(load) = stage else { return None };
        let text = self.expand(load.file.as_deref()?).ok()?;
        let name = RemoteWeights::parse(&text)?.ok()?;
        Some((text, name))
    }

    /// The path of the weights that a stage loads. `None` if they are not fetched yet.
    ///
    /// # Errors
    /// As [`Self::path`].
    pub fn weights_path(&self, file: &str) -> Result<Option<PathBuf>> {
        let text = self.expand(file)?;
        match RemoteWeights::parse(&text) {
            None => Ok(Some(self.base.join(text))),
            Some(_) => Ok(self.fetched.get(&text).map(|fetched| fetched.path.clone())),
        }
    }

    /// Resolves a path setting: variables are replaced, and the path is relative to the pipeline file.
    ///
    /// # Errors
    /// A variable is not set. This happens only if the pipeline was loaded without its inputs.
    pub fn path(&self, text: &str) -> Result<PathBuf> {
        Ok(self.base.join(self.expand(text)?))
    }

    /// A data set with the variables in the folders of its splits replaced. These folders are relative to its root.
    ///
    /// # Errors
    /// As [`Self::path`].
    pub fn with_expanded_folders(&self, data: &Data) -> Result<Data> {
        let mut data = data.clone();
        if let Some(SplitFolders { train, validation, test }) = data.split_folders_mut() {
            for folder in [Some(train), validation.as_mut(), test.as_mut()].into_iter().flatten() {
                *folder = self.expand(folder)?;
            }
        }
        Ok(data)
    }

    fn expand(&self, text: &str) -> Result<String> {
        paths::expand(text, |name| self.variables.get(name).cloned()).map_err(|error| match error {
            ExpandError::Unset(name) => Error::usage(format!("the environment variable `{name}` is not set"))
                .hint(format!("set it: `{name}=… defrost …`")),
            ExpandError::Malformed => Error::usage(format!("`{text}` has a malformed variable")),
        })
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
        assert_eq!(order.len(), self.stages.len(), "the loader checked that the stages have no cycle");
        order
    }

    /// The same pipeline, reduced to one stage and its ancestors.
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

    /// An error at the setting with that path, such as `stage.frozen.train[0]`. If the file leaves the setting out, the
    /// error is at the table that would contain it.
    pub fn diagnose(
        &self,
        path: &str,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) -> Diagnostic {
        Diagnostic::new(self.root.nearest(path).span(), code, message).help(help)
    }

    /// The pipeline with everything merged and every default written out.
    ///
    /// Paths stay as written in the file (those of an extended file are relative to the file that extends it). So the
    /// text has no absolute path unless the file has one, and it runs from the folder of the pipeline file. `[run]` is
    /// left out: it changes no result, and must not change this text. Fetched weights have their commit and their digest.
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
            text += &section("stage", name, &self.pinned(stage));
        }
        text
    }

    /// The settings of the machine, with every default written out.
    pub(super) fn run_to_toml(&self) -> String {
        to_toml(&BTreeMap::from([("run", &self.run)]))
    }

    /// The stage, with the commit and the digest of its weights if they were fetched.
    fn pinned(&self, stage: &Stage) -> Stage {
        let fetched = self.remote_weights_of(stage).and_then(|(text, _)| self.fetched.get(&text));
        match (stage, fetched) {
            (Stage::LoadWeights(load), Some(fetched)) => {
                let (file, sha256) = (Some(fetched.pinned.to_string()), Some(fetched.sha256.clone()));
                Stage::LoadWeights(Box::new(LoadWeights { file, sha256, ..(**load).clone() }))
            }
            _ => stage.clone(),
        }
    }
}

fn section(table: &str, name: &str, value: &impl Serialize) -> String {
    format!("\n{}", to_toml(&BTreeMap::from([(table, BTreeMap::from([(name, value)]))])))
}

fn to_toml(value: &impl Serialize) -> String {
    toml::to_string(value).expect("settings come from TOML, so TOML can represent them")
}
