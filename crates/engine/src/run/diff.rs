//! The differences between two runs, in inputs and results.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::results::results;
use super::{RunDirectory, RunRecord, StageRecord};
use crate::digest::{Difference, differences};
use crate::error::Result;

/// The differences from the first run to the second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDiff {
    /// Settings (`stage.finetune.optimizer.lr`), digests of inputs, code versions, numeric profile.
    pub causes: Vec<Difference>,
    /// Metrics, by stage: `test.accuracy`.
    pub results: Vec<Difference>,
}

/// Compares two runs, with the same name or different ones.
///
/// # Errors
/// The plan or the settings of a run cannot be read.
pub fn diff(old: &RunDirectory, new: &RunDirectory) -> Result<RunDiff> {
    let (old_record, new_record) = (old.record()?, new.record()?);
    let mut causes = differences(&old.settings()?, &new.settings()?);
    causes.extend(differences(&inputs_and_versions(&old_record), &inputs_and_versions(&new_record)));
    let results = differences(&all_results(old, &old_record), &all_results(new, &new_record));
    Ok(RunDiff { causes, results })
}

/// Everything in a plan that affects results, except settings: inputs and versions of each stage, and the profile.
pub(super) fn inputs_and_versions(record: &RunRecord) -> Value {
    let rest = |stage: &StageRecord| {
        let mut fields = stage.document.as_object().cloned().unwrap_or_default();
        // Settings are compared as written; resolved values follow from them.
        fields.retain(|name, _| ["inputs", "subsets", "engine"].contains(&name.as_str()));
        Value::Object(fields)
    };
    let stages: Map<String, Value> =
        record.stages.iter().map(|stage| (stage.name.clone(), rest(stage))).collect();
    json!({ "profile": record.profile, "stage": stages })
}

fn all_results(run: &RunDirectory, record: &RunRecord) -> Value {
    let names: BTreeSet<&String> = record.stages.iter().map(|stage| &stage.name).collect();
    names
        .into_iter()
        .map(|name| (name.clone(), json!(results(run, name))))
        .collect::<Map<String, Value>>()
        .into()
}
