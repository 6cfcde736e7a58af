//! The previous run of a name: its stages, which planning compares with the current ones, and what changed since.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::diff::diff;
use super::directory::RunDirectory;
use super::locate::{label_of, labelled, latest_of, name_of, runs_of};
use super::record::StageRecord;
use super::report::report_data;
use super::summary::first_started;
use crate::digest::Digest;
use crate::error::Result;
use crate::plan::PreviousStage;
use crate::report::RunChanges;
use crate::weights::WeightsFile;

/// The latest run of each label of a name, when a command started. The runs of a file are looked up together.
pub struct EarlierRuns {
    runs: PathBuf,
    name: String,
    by_label: OnceLock<HashMap<String, RunDirectory>>,
}

impl EarlierRuns {
    pub fn new(runs: &Path, name: &str) -> Self {
        Self { runs: runs.to_owned(), name: name.to_owned(), by_label: OnceLock::new() }
    }

    /// The stages of the latest run of the name, or of a label if the pipeline has several runs; empty if there is no
    /// readable run.
    pub fn stages(&self, label: Option<&str>) -> BTreeMap<String, PreviousStage> {
        let labelled = || self.by_label.get_or_init(|| labelled(&self.runs, &self.name).unwrap_or_default());
        match label {
            Some(label) => labelled().get(label).map(stages_of).unwrap_or_default(),
            None => latest_of(&self.runs, &self.name).map(|run| stages_of(&run)).unwrap_or_default(),
        }
    }
}

fn stages_of(run: &RunDirectory) -> BTreeMap<String, PreviousStage> {
    let Ok(record) = run.record() else { return BTreeMap::new() };
    let stages = record.stages.into_iter().filter(|stage| stage.key.is_some());
    let manifest = run.manifest().unwrap_or_default();
    stages.map(|stage| (stage.name.clone(), earlier(run, &manifest, stage))).collect()
}

/// What changed since the run of the same name and label that was started before this one.
///
/// # Errors
/// The plan or the settings of either run cannot be read.
pub fn changes_since_previous(runs: &Path, run: &RunDirectory) -> Result<RunChanges> {
    let (name, label) = (name_of(run), run.record()?.label);
    // In order of first start, so that "previous" does not change when an old run is repeated.
    let order = |run: &RunDirectory| (first_started(run), run.id());
    let own = order(run);
    let is_earlier = |other: &RunDirectory| label_of(other) == label && order(other) < own;
    let earlier = runs_of(runs, &name)?.into_iter().filter(is_earlier);
    let Some(previous) = earlier.max_by_key(order) else { return Ok(RunChanges::default()) };
    Ok(RunChanges {
        previous: Some(previous.id()),
        started: first_started(&previous),
        causes: diff(&previous, run)?.causes,
        results: report_data(&previous)?.key_results(),
    })
}

fn earlier(run: &RunDirectory, manifest: &BTreeMap<String, Digest>, stage: StageRecord) -> PreviousStage {
    let consumed = stage.sources().map(|file| digest(run, manifest, file)).collect();
    PreviousStage { document: stage.document, rules: stage.rules, consumed }
}

/// The digest of a checkpoint of the run, from its manifest or else its bytes.
fn digest(run: &RunDirectory, manifest: &BTreeMap<String, Digest>, file: &str) -> Option<Digest> {
    let listed = manifest.get(file).copied();
    listed.or_else(|| Some(WeightsFile::open(&run.path().join(file)).ok()?.digest()))
}
