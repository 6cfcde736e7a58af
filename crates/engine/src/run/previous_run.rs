//! The stages of a pipeline's previous run, which planning compares with the current ones.

use std::collections::BTreeMap;
use std::path::Path;

use super::directory::RunDirectory;
use super::locate::{labelled, latest_of};
use super::record::StageRecord;
use crate::digest::Digest;
use crate::plan::PreviousStage;
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

fn earlier(run: &RunDirectory, stage: StageRecord) -> PreviousStage {
    let consumed = stage.sources().map(|file| digest(run, file)).collect();
    PreviousStage { document: stage.document, rules: stage.rules, consumed }
}

/// The digest of a checkpoint of the run, from its manifest or else its bytes.
fn digest(run: &RunDirectory, file: &str) -> Option<Digest> {
    let listed = run.manifest().ok().and_then(|files| files.get(file).copied());
    listed.or_else(|| Some(WeightsFile::open(&run.path().join(file)).ok()?.digest()))
}
