//! The previous run of a name: its stages, which planning compares with the current ones, and what changed since.

use std::collections::BTreeMap;
use std::path::Path;

use super::diff::diff;
use super::directory::RunDirectory;
use super::locate::{all_runs, labelled, latest_of, name_of};
use super::record::StageRecord;
use super::report::report_data;
use super::summary::first_started;
use crate::digest::Digest;
use crate::error::Result;
use crate::plan::PreviousStage;
use crate::report::RunChanges;
use crate::weights::WeightsFile;

/// The stages of the latest run of a name, or of a label if the pipeline has a matrix; empty if there is no
/// readable run.
pub fn previous_stages(runs: &Path, name: &str, label: Option<&str>) -> BTreeMap<String, PreviousStage> {
    let run = match label {
        Some(label) => labelled(runs, name, label).ok().flatten(),
        None => latest_of(runs, name).ok(),
    };
    let Some(run) = run else { return BTreeMap::new() };
    let Ok(record) = run.record() else { return BTreeMap::new() };
    let stages = record.stages.into_iter().filter(|stage| stage.key.is_some());
    stages.map(|stage| (stage.name.clone(), earlier(&run, stage))).collect()
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
    let is_earlier = |other: &RunDirectory| {
        name_of(other) == name
            && order(other) < own
            && other.record().is_ok_and(|record| record.label == label)
    };
    let earlier = all_runs(runs)?.into_iter().filter(is_earlier);
    let Some(previous) = earlier.max_by_key(order) else { return Ok(RunChanges::default()) };
    Ok(RunChanges {
        previous: Some(previous.id()),
        started: first_started(&previous),
        causes: diff(&previous, run)?.causes,
        results: report_data(&previous)?.key_results(),
    })
}

fn earlier(run: &RunDirectory, stage: StageRecord) -> PreviousStage {
    let consumed = stage.sources().map(|file| digest(run, file)).collect();
    PreviousStage { document: stage.document, rules: stage.rules, consumed }
}

/// The digest of a checkpoint of the run, from its manifest or else its bytes.
fn digest(run: &RunDirectory, file: &str) -> Option<Digest> {
    let listed = run.manifest().ok().and_then(|files| files.get(file).copied());
    listed.or_else(|| Some(WeightsFile::open(&run.path().join(file)).ok()?.digest()))
}
