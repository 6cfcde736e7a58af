//! `plan.json`: the plan of a run, for `list`, `status`, `diff`, `verify` and `gc`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::plan::{ParentStage, Plan, StageStatus, Status};

/// The plan of a run. Deterministic: it contains no path of this machine and no time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The pipeline's name.
    pub name: String,
    /// The run's label in the pipeline's matrix: `arch=resnet50, seed=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The recipe that names the run directory.
    pub recipe: Digest,
    /// The numeric profile of the run.
    pub profile: String,
    /// Parents first.
    pub stages: Vec<StageRecord>,
}

/// What a plan says of the run itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct RecordHead {
    #[serde(default)]
    pub label: Option<String>,
    pub recipe: Digest,
}

/// The keys of the stages of a plan.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct RecordKeys {
    pub stages: Vec<StageKey>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct StageKey {
    pub key: Option<Digest>,
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub name: String,
    pub kind: String,
    pub recipe: Digest,
    /// `None` until the stages above have finished.
    pub key: Option<Digest>,
    /// The content that the recipe is the digest of, without the stages above: `settings`, `inputs`, `engine`, …
    pub document: Value,
    /// For a train stage: the freezing rules as written.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub rules: Value,
    /// For a train stage: the parameters and buffers that must not change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// The checkpoint that it starts from, relative to the run directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Further checkpoints that it reads: of other ensemble members, or of a teacher.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_sources: Vec<String>,
}

impl StageRecord {
    /// All checkpoints that it reads, in order.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.source.iter().chain(&self.other_sources).map(String::as_str)
    }
}

impl RunRecord {
    /// The record of a plan under a numeric profile; keys become known during the run.
    pub fn of(plan: &Plan, variant: &str, statuses: &[StageStatus]) -> Self {
        let source =
            |parent: &ParentStage| format!("stages/{}/{}", plan.stages[parent.stage].name, parent.file());
        let stages = plan.stages.iter().zip(statuses).map(|(stage, status)| {
            let mut sources = stage.parents.iter().map(source);
            StageRecord {
                name: stage.name.clone(),
                kind: stage.work.kind().to_owned(),
                recipe: stage.recipe,
                // `gc` keeps what a run directory names: from the start, all stages that are finished or in
                // progress.
                key: status.key.filter(|_| status.status != Status::Miss),
                document: stage.document.clone(),
                rules: stage.rules.clone(),
                source: sources.next(),
                other_sources: sources.collect(),
                frozen: stage.work.frozen(),
            }
        });
        RunRecord {
            name: plan.name.clone(),
            label: plan.label.clone(),
            recipe: plan.recipe,
            profile: variant.to_owned(),
            stages: stages.collect(),
        }
    }

    /// Keeps the previous run's keys of stages whose new key is not known yet, so that `gc` does not remove
    /// results that this run may still reuse.
    pub fn keep_previous_keys(&mut self, before: &RunRecord) {
        for stage in self.stages.iter_mut().filter(|stage| stage.key.is_none()) {
            stage.key = before.stage(&stage.name).and_then(|before| before.key);
        }
    }

    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}
