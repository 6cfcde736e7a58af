//! What a run would do with each stage, and why.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::planned::{Plan, PlanEntry};
use super::reason::reasons;
use super::recipe::key;
use super::resolve::ParentStage;
use crate::digest::{Difference, Digest};
use crate::error::Result;
use crate::store::{FinishedStage, Lookup, Store, VariantRequest};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Finished, and in the store.
    Hit,
    /// To be computed.
    Miss,
    /// To be computed, resuming from its last checkpoint.
    Resume,
}

/// A stage in an earlier run of the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviousStage {
    pub document: Value,
    pub rules: Value,
    /// The digests of the checkpoints it read, in order. `None` for one that no longer exists.
    pub consumed: Vec<Option<Digest>>,
}

#[derive(Debug)]
pub struct StageStatus {
    /// `None` until the stages above are finished.
    pub key: Option<Digest>,
    pub status: Status,
    pub finished: Option<FinishedStage>,
    /// Why it is not a cache hit. Empty for a hit, and for a stage that was never computed.
    pub reasons: Vec<Difference>,
}

/// The fields of reasons that are not settings: the starting weights, and what the store has for the stage.
const FROM: &str = "from";
const STORE: &str = "store";

impl StageStatus {
    /// The reasons in words: `optimizer.lr 1e-4 → 3e-5`.
    pub fn reason(&self) -> Option<String> {
        match (self.status, &self.reasons[..]) {
            (Status::Hit, _) => None,
            (Status::Resume, _) => Some("interrupted earlier".to_owned()),
            (_, []) => Some("not computed before".to_owned()),
            (_, reasons) => Some(words(reasons.iter())),
        }
    }

    /// The reasons that remain once the stages above have been computed.
    pub fn reason_after_parents(&self) -> Option<String> {
        if self.status == Status::Resume {
            return self.reason();
        }
        let pending = |reason: &&Difference| !(reason.field == FROM && reason.new.is_none());
        match self.reasons.iter().filter(pending).count() {
            0 => self.reason().filter(|_| self.reasons.is_empty()),
            _ => Some(words(self.reasons.iter().filter(pending))),
        }
    }
}

fn words<'a>(reasons: impl Iterator<Item = &'a Difference>) -> String {
    let one = |reason: &Difference| match (reason.field.as_str(), &reason.old, &reason.new) {
        (FROM, Some(Value::String(above)), None) => format!("`{above}` will run first"),
        (STORE, _, None) => "not in the store".to_owned(),
        _ => reason.to_string(),
    };
    reasons.map(one).collect::<Vec<_>>().join(", ")
}

/// Looks up every stage. `variant` is the numeric profile of the computation.
pub fn statuses(
    plan: &Plan,
    store: &Store,
    wanted: VariantRequest,
    variant: &str,
    earlier: &BTreeMap<String, PreviousStage>,
) -> Result<Vec<StageStatus>> {
    let mut all: Vec<StageStatus> = Vec::new();
    for stage in &plan.stages {
        let status = status(plan, stage, &all, store, wanted, variant, earlier.get(&stage.name))?;
        all.push(status);
    }
    Ok(all)
}

/// `before` are the earlier stages of the plan.
fn status(
    plan: &Plan,
    stage: &PlanEntry,
    before: &[StageStatus],
    store: &Store,
    wanted: VariantRequest,
    variant: &str,
    earlier: Option<&PreviousStage>,
) -> Result<StageStatus> {
    let digest =
        |parent: &ParentStage| before[parent.stage].finished.as_ref()?.files.get(parent.file()).copied();
    let consumed: Vec<Option<Digest>> = stage.parents.iter().map(digest).collect();
    let mut why = earlier.map_or_else(Vec::new, |earlier| {
        reasons(&earlier.document, &stage.document, &earlier.rules, &stage.rules)
    });
    let Some(read) = consumed.iter().copied().collect::<Option<Vec<Digest>>>() else {
        let pending = stage.parents.iter().zip(&consumed).filter(|(_, digest)| digest.is_none());
        let mut names: Vec<&str> = pending.map(|(parent, _)| &*plan.stages[parent.stage].name).collect();
        names.dedup();
        let to_be_computed = |name| Difference { field: FROM.to_owned(), old: Some(json!(name)), new: None };
        why.extend(names.into_iter().map(to_be_computed));
        return Ok(StageStatus { key: None, status: Status::Miss, finished: None, reasons: why });
    };
    let key = key(&stage.document, &read);
    match store.lookup(&key, wanted)? {
        Lookup::Found(finished) => Ok(StageStatus {
            key: Some(key),
            status: Status::Hit,
            finished: Some(finished),
            reasons: Vec::new(),
        }),
        missing => {
            if let Lookup::Damaged { reason, .. } = missing {
                why.push(because(STORE, Some(json!("whole")), json!(reason)));
            }
            // The document shows a different number of sources.
            for (old, new) in earlier.iter().flat_map(|earlier| earlier.consumed.iter().zip(&consumed)) {
                if old != new {
                    why.push(because(FROM, old.map(|digest| json!(digest)), json!(new)));
                }
            }
            if why.is_empty() && earlier.is_some() {
                why.push(Difference { field: STORE.to_owned(), old: Some(json!("finished")), new: None });
            }
            let status = if store.resumable(&key, variant)? { Status::Resume } else { Status::Miss };
            Ok(StageStatus { key: Some(key), status, finished: None, reasons: why })
        }
    }
}

fn because(field: &str, old: Option<Value>, new: Value) -> Difference {
    Difference { field: field.to_owned(), old, new: Some(new) }
}
