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
    /// The epochs of the finished train stage from which it continues.
    pub continues_after: Option<u32>,
    /// If only the number of epochs has grown: why it trains all of them.
    pub trains_all: Option<&'static str>,
}

/// The fields of reasons that are not settings: the starting weights, and what the store has for the stage.
const FROM: &str = "from";
const STORE: &str = "store";

impl StageStatus {
    fn missing(key: Option<Digest>) -> Self {
        let (status, reasons) = (Status::Miss, Vec::new());
        Self { key, status, finished: None, reasons, continues_after: None, trains_all: None }
    }

    /// The reasons in words: `optimizer.lr 1e-4 → 3e-5`.
    pub fn reason(&self) -> Option<String> {
        match (self.status, &self.reasons[..]) {
            (Status::Hit, _) => None,
            (Status::Resume, _) => Some(self.continues_after.map_or_else(
                || "interrupted earlier".to_owned(),
                |epochs| format!("continues after {epochs} finished epochs"),
            )),
            (_, []) => Some("not computed before".to_owned()),
            (_, reasons) => {
                let all = self.trains_all.map(|why| format!(" (trains all epochs: {why})"));
                Some(words(reasons.iter()) + &all.unwrap_or_default())
            }
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
        return Ok(StageStatus { reasons: why, ..StageStatus::missing(None) });
    };
    let key = key(&stage.document, &read);
    match store.lookup(&key, wanted)? {
        Lookup::Found(finished) => Ok(StageStatus {
            status: Status::Hit,
            finished: Some(finished),
            ..StageStatus::missing(Some(key))
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
            let resumable = store.resumable(&key, variant)?;
            let series = stage.series(&read).filter(|_| !resumable);
            let shorter = series.map_or(Ok(None), |series| store.continuation(&series, variant))?;
            let trains_all = shorter.is_none().then(|| trains_all(stage, &why)).flatten();
            let status = if resumable || shorter.is_some() { Status::Resume } else { Status::Miss };
            let continues_after = shorter.map(|shorter| shorter.epochs);
            let key = Some(key);
            Ok(StageStatus { key, status, finished: None, reasons: why, continues_after, trains_all })
        }
    }
}

/// Why a stage trains all epochs again, if the only difference is that there are more of them.
fn trains_all(stage: &PlanEntry, reasons: &[Difference]) -> Option<&'static str> {
    let [Difference { field, old: Some(old), new: Some(new) }] = reasons else { return None };
    let grew = field == "epochs" && old.as_u64() < new.as_u64();
    let reason =
        stage.depends_on_epochs().unwrap_or("the training state of the shorter stage is not in the store");
    grew.then_some(reason)
}

fn because(field: &str, old: Option<Value>, new: Value) -> Difference {
    Difference { field: field.to_owned(), old, new: Some(new) }
}
