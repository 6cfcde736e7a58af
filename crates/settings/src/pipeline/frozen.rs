//! A run as it was submitted: later changes of its file do not change it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::diagnostic_report::DiagnosticReport;
use super::load::{LoadOptions, load_frozen_text};
use super::resolved::Resolved;
use super::source_text::SourceText;

/// One run of a pipeline file, with everything merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrozenRun {
    /// The label in the file's matrix.
    pub label: Option<String>,
    /// The file as the user named it. Relative paths in the settings start from its folder.
    pub file: PathBuf,
    /// The settings with every default, including `[run]`.
    #[serde(skip)]
    pub settings: String,
    /// The text of the file, byte for byte.
    #[serde(skip)]
    pub text: Arc<str>,
    /// The environment variables in paths, with their values.
    pub variables: BTreeMap<String, String>,
}

impl FrozenRun {
    pub fn of(run: &Resolved) -> Self {
        let settings = format!("{}\n{}", run.to_toml(), run.run_to_toml());
        let (label, file, text) = (run.label.clone(), run.file.clone(), run.text.clone());
        Self { label, file, settings, text, variables: run.variables.clone() }
    }

    /// The run, with its inputs checked again. `env` has the variables of other pipelines that it loads weights from.
    ///
    /// # Errors
    /// An input is missing, or the settings are not valid in this version.
    pub fn load(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Resolved, DiagnosticReport> {
        let env = |name: &str| self.variables.get(name).cloned().or_else(|| env(name));
        let options = LoadOptions::unchanged(true, &env);
        let source = SourceText::new(format!("{} as submitted", self.file.display()), self.settings.clone());
        let run = load_frozen_text(&self.file, source, &options)?;
        Ok(Resolved { label: self.label.clone(), text: self.text.clone(), ..run })
    }
}
