//! `plan.json`: what a run was to do, as `list`, `status`, `diff`, `verify` and `gc` read it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::plan::{Parent, Plan, StageStatus, Status};

/// A run's plan. Deterministic: no path of this machine, no time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The pipeline's name.
    pub name: String,
    /// Which run of the pipeline's matrix it is, as `arch=resnet50, seed=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What names the run directory.
    pub recipe: Digest,
    /// The numeric profile it runs under.
    pub profile: String,
    /// Parents first.
    pub stages: Vec<StageRecord>,
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub name: String,
    pub kind: String,
    pub recipe: Digest,
    /// Unknown until what is above exists.
    pub key: Option<Digest>,
    /// What the recipe is the digest of, but for what is above: `settings`, `inputs`, `engine`, …
    pub document: Value,
    /// Of a train stage, the freezing rules as written.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub rules: Value,
    /// Of a train stage, the parameters and buffers that may not move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// The checkpoint it starts from, below the run directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Those it reads besides: of the other members of an ensemble, or of a teacher.
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
    /// What a plan has to be done under a numeric profile; keys become known on the way.
    pub fn of(plan: &Plan, variant: &str, statuses: &[StageStatus]) -> Self {
        let source = |parent: &Parent| format!("stages/{}/{}", plan.stages[parent.stage].name, parent.file());
        let stages = plan.stages.iter().zip(statuses).map(|(stage, status)| {
            let mut sources = stage.parents.iter().map(source);
            StageRecord {
                name: stage.name.clone(),
                kind: stage.work.kind().to_owned(),
                recipe: stage.recipe,
                // `gc` leaves alone what a run directory names: from the start, all that is finished or begun.
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

    /// Takes over what the run had before where it is not known what it will have: until a stage is reached, `gc` is to
    /// leave alone what there was of it, which may well be found again.
    pub fn keep_keys(&mut self, before: &RunRecord) {
        for stage in self.stages.iter_mut().filter(|stage| stage.key.is_none()) {
            stage.key = before.stage(&stage.name).and_then(|before| before.key);
        }
    }

    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}
