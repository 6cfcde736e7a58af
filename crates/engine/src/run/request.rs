//! What is asked of a run, and what became of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use candle_core::Device;
use serde::Serialize;
use serde_json::Value;

use super::State;
use crate::error::Error;
use crate::estimate::Estimate;
use crate::events::{Outcome, Stopped};
use crate::plan::{Planned, StageStatus};
use crate::store::Wanted;

/// Where the time comes from; the library has no clock of its own.
pub type Clock = fn() -> SystemTime;

/// What is to be run, and how.
pub struct Options<'a> {
    /// Where stages compute.
    pub device: &'a Device,
    /// Recompute this stage and all below it; all above must be finished.
    pub from: Option<&'a str>,
    /// Stop after this stage; only it and what is above it runs.
    pub until: Option<&'a str>,
    /// Recompute everything.
    pub force: bool,
    pub wanted: Wanted<'a>,
    /// The stages of the plan as the caller found them. They are looked up again once no other process is at work in the
    /// run directory.
    pub statuses: &'a [StageStatus],
    /// The numeric profile that stages are computed under.
    pub variant: &'a str,
    /// Threads that read and decode images.
    pub workers: usize,
    /// Bytes that a stage may spend on keeping decoded images.
    pub image_cache: usize,
    pub checkpoint_seconds: f64,
    /// The most bytes that features of frozen layers may take; none where they are not to be kept.
    pub feature_bytes: Option<u64>,
    pub clock: Clock,
    /// What stages are expected to take, by name, to be recorded beside what they took.
    pub expected: BTreeMap<String, Estimate>,
    /// The most memory that the process has held so far, where the system tells.
    pub peak_bytes: &'a (dyn Fn() -> Option<u64> + Sync),
}

/// What became of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub run_dir: PathBuf,
    pub state: State,
    /// Those that were asked for.
    pub stages: Vec<StageSummary>,
    /// Why it did not finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

#[derive(Debug, Serialize)]
pub struct StageSummary {
    pub name: String,
    pub kind: &'static str,
    pub status: Ended,
    pub seconds: f64,
    /// The stage's `metrics.json`, if it has one.
    pub metrics: Value,
    /// Why it did not finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl StageSummary {
    pub(super) fn of(stage: &Planned, status: Ended, seconds: f64, metrics: Value) -> Self {
        Self { name: stage.name.clone(), kind: stage.work.kind(), status, seconds, metrics, error: None }
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    Ran,
    Cached,
    Resumed,
    Failed,
    Interrupted,
    /// A stage before it did not finish.
    NotRun,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ran => Self::Ran,
            Outcome::Cached => Self::Cached,
            Outcome::Resumed => Self::Resumed,
        }
    }
}

impl From<Stopped> for Ended {
    fn from(how: Stopped) -> Self {
        match how {
            Stopped::Failed => Self::Failed,
            Stopped::Interrupted => Self::Interrupted,
        }
    }
}

/// The pipeline's texts, as they go into the run directory.
pub struct Texts<'a> {
    pub pipeline: &'a str,
    pub resolved: &'a str,
}
