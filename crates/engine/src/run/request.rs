//! The request for a run, and its outcome.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use candle_core::Device;
use serde::Serialize;
use serde_json::Value;

use super::RunState;
use crate::error::Error;
use crate::estimate::Estimate;
use crate::events::{StageOutcome, StopReason};
use crate::plan::{PlanEntry, PreviousStage, StageStatus};
use crate::ranks::Team;
use crate::store::VariantRequest;

/// The source of time; the library reads no clock itself.
pub type Clock = fn() -> SystemTime;

/// What to run, and how.
pub struct RunOptions<'a> {
    /// The ranks of the run, of which this is rank 0, and the number of the run among those of the file.
    pub team: &'a Team<'a>,
    pub run: usize,
    /// The device of the stages.
    pub device: &'a Device,
    /// Recompute this stage and all below it; all above must be cached.
    pub from: Option<&'a str>,
    /// Run only this stage and those above it.
    pub until: Option<&'a str>,
    /// Recompute everything.
    pub force: bool,
    pub wanted: VariantRequest<'a>,
    /// The stages of the plan as the caller found them. They are looked up again once no other process uses the run
    /// directory.
    pub statuses: &'a [StageStatus],
    /// The stages of the run before, for the reasons why stages are computed.
    pub earlier: &'a BTreeMap<String, PreviousStage>,
    /// The numeric profile of the stages.
    pub variant: &'a str,
    /// The number of threads that read and decode images.
    pub workers: usize,
    /// The bytes that a stage may use for decoded images.
    pub image_cache: usize,
    pub checkpoint_seconds: f64,
    /// Whether train stages keep their training state, from which stages with more epochs continue.
    pub keep_training_state: bool,
    /// The maximum bytes of cached features; `None` disables caching.
    pub feature_bytes: Option<u64>,
    /// Whether to write event files for TensorBoard.
    pub tensorboard: bool,
    pub clock: Clock,
    /// Estimates by stage name, recorded with the actual values.
    pub expected: BTreeMap<String, Estimate>,
    /// The peak memory of the process so far, if the system reports it.
    pub peak_bytes: &'a (dyn Fn() -> Option<u64> + Sync),
}

/// The outcome of a run.
#[derive(Debug, Serialize)]
pub struct RunResult {
    pub run_dir: PathBuf,
    pub state: RunState,
    /// The requested stages.
    pub stages: Vec<StageResult>,
    /// The error, if it did not finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

#[derive(Debug, Serialize)]
pub struct StageResult {
    pub name: String,
    pub kind: &'static str,
    pub status: StageEnd,
    pub seconds: f64,
    /// The stage's `metrics.json`, if it has one.
    pub metrics: Value,
    /// The error, if it did not finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl StageResult {
    pub(super) fn of(stage: &PlanEntry, status: StageEnd, seconds: f64, metrics: Value) -> Self {
        Self { name: stage.name.clone(), kind: stage.work.kind(), status, seconds, metrics, error: None }
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageEnd {
    Ran,
    Cached,
    Resumed,
    Failed,
    Interrupted,
    /// An earlier stage did not finish.
    NotRun,
}

impl From<StageOutcome> for StageEnd {
    fn from(outcome: StageOutcome) -> Self {
        match outcome {
            StageOutcome::Ran => Self::Ran,
            StageOutcome::Cached => Self::Cached,
            StageOutcome::Resumed => Self::Resumed,
        }
    }
}

impl From<StopReason> for StageEnd {
    fn from(how: StopReason) -> Self {
        match how {
            StopReason::Failed => Self::Failed,
            StopReason::Interrupted => Self::Interrupted,
        }
    }
}

/// The pipeline files to write into the run directory.
pub struct PipelineTexts<'a> {
    pub pipeline: &'a str,
    pub resolved: &'a str,
}
