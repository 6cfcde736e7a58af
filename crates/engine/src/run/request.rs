//! The request for a run, and its outcome.

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

/// The source of time; the library reads no clock itself.
pub type Clock = fn() -> SystemTime;

/// What to run, and how.
pub struct Options<'a> {
    /// The device of the stages.
    pub device: &'a Device,
    /// Recompute this stage and all below it; all above must be cached.
    pub from: Option<&'a str>,
    /// Run only this stage and those above it.
    pub until: Option<&'a str>,
    /// Recompute everything.
    pub force: bool,
    pub wanted: Wanted<'a>,
    /// The stages of the plan as the caller found them. They are looked up again once no other process is at work in the
    /// run directory.
    pub statuses: &'a [StageStatus],
    /// The numeric profile of the stages.
    pub variant: &'a str,
    /// The number of threads that read and decode images.
    pub workers: usize,
    /// The bytes that a stage may use for decoded images.
    pub image_cache: usize,
    pub checkpoint_seconds: f64,
    /// The maximum bytes of cached features; `None` disables caching.
    pub feature_bytes: Option<u64>,
    pub clock: Clock,
    /// Estimates by stage name, recorded with the actual values.
    pub expected: BTreeMap<String, Estimate>,
    /// The peak memory of the process so far, if the system reports it.
    pub peak_bytes: &'a (dyn Fn() -> Option<u64> + Sync),
}

/// The outcome of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub run_dir: PathBuf,
    pub state: State,
    /// The requested stages.
    pub stages: Vec<StageSummary>,
    /// The error, if it did not finish.
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
    /// The error, if it did not finish.
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
    /// An earlier stage did not finish.
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

/// The pipeline files to write into the run directory.
pub struct Texts<'a> {
    pub pipeline: &'a str,
    pub resolved: &'a str,
}
