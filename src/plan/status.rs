//! What a run would do with each stage, and why.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::inputs::{Plan, Planned};
use super::reason::reasons;
use super::recipe::key;
use crate::digest::{Difference, Digest};
use crate::error::Result;
use crate::store::{Finished, Lookup, Store, Wanted};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Finished, and in the store.
    Hit,
    /// To be computed.
    Miss,
    /// To be computed from its last checkpoint on.
    Resume,
}

/// A stage as an earlier run of the pipeline had it.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    pub document: Value,
    pub rules: Value,
    /// The digest of the checkpoint it started from.
    pub consumed: Option<Digest>,
}

#[derive(Debug)]
pub struct StageStatus {
    /// None while what is above is not there.
    pub key: Option<Digest>,
    pub status: Status,
    pub finished: Option<Finished>,
    /// Why it is not a hit; empty for one that is, and for one that was never computed.
    pub reasons: Vec<Difference>,
}

/// The fields of reasons that are no settings: what a stage starts from, and what the store has of it.
const FROM: &str = "from";
const STORE: &str = "store";

impl StageStatus {
    /// The reasons in words: `optimizer.lr 1e-4 → 3e-5`.
    pub fn why(&self) -> Option<String> {
        match (self.status, &self.reasons[..]) {
            (Status::Hit, _) => None,
            (Status::Resume, _) => Some("interrupted before".to_owned()),
            (_, []) => Some("not computed before".to_owned()),
            (_, reasons) => Some(words(reasons.iter())),
        }
    }

    /// The reasons that are left once what is above has been computed.
    pub fn why_then(&self) -> Option<String> {
        if self.status == Status::Resume {
            return self.why();
        }
        let pending = |reason: &&Difference| !(reason.field == FROM && reason.new.is_none());
        match self.reasons.iter().filter(pending).count() {
            0 => self.why().filter(|_| self.reasons.is_empty()),
            _ => Some(words(self.reasons.iter().filter(pending))),
        }
    }
}

fn words<'a>(reasons: impl Iterator<Item = &'a Difference>) -> String {
    let one = |reason: &Difference| match (reason.field.as_str(), &reason.old, &reason.new) {
        (FROM, Some(Value::String(above)), None) => format!("`{above}` is to be computed"),
        (STORE, _, None) => "not in the store".to_owned(),
        _ => reason.to_string(),
    };
    reasons.map(one).collect::<Vec<_>>().join(", ")
}

/// Looks every stage up. `variant` is the numeric profile a stage would be computed under.
pub fn statuses(
    plan: &Plan,
    store: &Store,
    wanted: Wanted,
    variant: &str,
    earlier: &BTreeMap<String, Earlier>,
) -> Result<Vec<StageStatus>> {
    let mut all: Vec<StageStatus> = Vec::new();
    for stage in &plan.stages {
        let above = stage.parent.map(|parent| &all[parent.stage]);
        let status = status(plan, stage, above, store, wanted, variant, earlier.get(&stage.name))?;
        all.push(status);
    }
    Ok(all)
}

fn status(
    plan: &Plan,
    stage: &Planned,
    above: Option<&StageStatus>,
    store: &Store,
    wanted: Wanted,
    variant: &str,
    earlier: Option<&Earlier>,
) -> Result<StageStatus> {
    let consumed = stage.parent.zip(above).map(|(parent, above)| {
        above.finished.as_ref().and_then(|finished| finished.files.get(parent.file()).copied())
    });
    let mut why = earlier.map_or_else(Vec::new, |earlier| {
        reasons(&earlier.document, &stage.document, &earlier.rules, &stage.rules)
    });
    if let Some(None) = consumed {
        let above = stage.parent.map(|parent| json!(plan.stages[parent.stage].name));
        why.push(Difference { field: FROM.to_owned(), old: above, new: None });
        return Ok(StageStatus { key: None, status: Status::Miss, finished: None, reasons: why });
    }
    let consumed = consumed.flatten();
    let key = key(&stage.document, consumed.as_ref());
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
            if let Some(earlier) = earlier
                && earlier.consumed != consumed
            {
                why.push(because(FROM, earlier.consumed.map(|digest| json!(digest)), json!(consumed)));
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
