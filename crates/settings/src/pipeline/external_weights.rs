//! Weights from a stage of another pipeline file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::diagnostic_report::DiagnosticReport;
use super::diagnostics::Diagnostic;
use super::document::Node;
use super::graph::{self, ReferenceProblem, WeightsUse};
use super::load::{LoadOptions, load_chain};
use super::paths::Variables;
use super::resolved::Resolved;
use super::stage::Parent;
use super::unchecked::UncheckedPipeline;

/// A stage of another pipeline, and everything it needs.
#[derive(Clone, Debug)]
pub struct ExternalStage {
    /// The other pipeline, reduced to this stage and its ancestors.
    pub pipeline: Resolved,
    /// The stage with its checkpoint, as written in the file.
    pub stage: String,
}

impl ExternalStage {
    pub fn parent(&self) -> Parent<'_> {
        Parent::parse(&self.stage).expect("checked when it was loaded")
    }
}

/// The current file and how it was reached.
pub struct CurrentFile<'a> {
    /// Its folder.
    pub base: &'a Path,
    /// The full paths of the files that load weights from one another, down to this file, which is the last.
    pub chain: &'a [PathBuf],
    pub options: &'a LoadOptions<'a>,
}

impl CurrentFile<'_> {
    /// Loads the pipelines that `load_weights` stages read weights from, by the names of these stages.
    pub fn load(
        &self,
        root: &Node,
        variables: &mut Variables,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> BTreeMap<String, ExternalStage> {
        let mut all = BTreeMap::new();
        for (name, stage) in root.get("stage").map(Node::entries).unwrap_or_default() {
            let (Some(file), Some(wanted)) = (stage.get("pipeline"), stage.get("stage")) else { continue };
            let (Some(path), Some(text)) = (file.text(), wanted.text()) else { continue };
            // Unset variables and missing files are reported with all others.
            let Ok(path) = variables.expand(path).map(|path| self.base.join(path)) else { continue };
            let Ok(full) = path.canonicalize() else { continue };
            if !full.is_file() {
                continue;
            }
            let (place, problems) = match self.other(&path, &full, text) {
                Err(problem) => (file, vec![problem]),
                Ok(other) => {
                    let problems = problems(&other, text);
                    if let (Some(parent), true) = (Parent::parse(text), problems.is_empty()) {
                        let pipeline = other.only(parent.stage);
                        all.insert(name.clone(), ExternalStage { pipeline, stage: text.to_owned() });
                    }
                    (wanted, problems)
                }
            };
            for (code, message, help) in problems {
                diagnostics.push(Diagnostic::new(&place.place, code, message).help(help));
            }
        }
        all
    }

    /// The one run of another pipeline file.
    fn other(&self, path: &Path, full: &PathBuf, stage: &str) -> Result<Resolved, ReferenceProblem> {
        if let Some(place) = self.chain.iter().position(|file| file == full) {
            return Err(circle(&self.chain[place..], stage));
        }
        let name = path.display();
        let options = LoadOptions::unchanged(self.options.inputs, self.options.env);
        let mut runs =
            load_chain(path, self.chain, &options).map_err(|DiagnosticReport { diagnostics, .. }| {
                let first = diagnostics.first().map_or(String::new(), |first| format!(": {}", first.message));
                let help = format!("`defrost validate {name}` shows the errors");
                ("other-pipeline", format!("`{name}` is not valid{first}"), Some(help))
            })?;
        if runs.len() > 1 || runs[0].label.is_some() {
            let what = if runs[0].of_search.is_some() { "search" } else { "matrix" };
            let help = format!("train these weights in a pipeline without a {what}");
            return Err((
                "other-pipeline",
                format!("`{name}` has a {what}, so it makes several runs"),
                Some(help),
            ));
        }
        Ok(runs.remove(0))
    }
}

/// A cycle of files that load weights from one another: the first file loads from the last.
fn circle(files: &[PathBuf], stage: &str) -> ReferenceProblem {
    let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (message, help) = match files {
        [_] => ("this is the file itself".to_owned(), format!("write `from = \"{stage}\"` instead")),
        _ => {
            let names: Vec<String> = files.iter().map(name).collect();
            let circle = format!("{} → {}", names.join(" → "), names[0]);
            (
                format!("pipelines load weights from each other in a cycle: {circle}"),
                "move the stages that both need to a separate pipeline file".to_owned(),
            )
        }
    };
    ("cycle", message, Some(help))
}

/// Checks the name of a stage in another pipeline.
fn problems(other: &Resolved, text: &str) -> Vec<ReferenceProblem> {
    let stages = other.stages.iter().map(|(name, stage)| (name.as_str(), Some(stage.kind()))).collect();
    graph::problems(&UncheckedPipeline::new(&other.root), &stages, text, WeightsUse::Start)
}
