//! A complete run in a folder that is not writable: another user's, a read-only disk, a full disk.
//!
//! It is still a valid result: everything requested is there, and nothing needs to be written.

use super::directory::{RunDirectory, RunState};
use super::report::started;
use super::request::{RunResult, StageEnd, StageResult};
use super::results::{numbers, read_metrics};
use super::selection::StageSelection;
use crate::error::Error;
use crate::events::{Event, Observer, StageOutcome};
use crate::plan::{Plan, StageStatus};
use crate::store::{FinishedStage, Store};

/// The existing run, if it is complete and contains all requested stages; `error` is the reason why it is not
/// writable.
pub(super) fn already_complete(
    plan: &Plan,
    selection: &StageSelection,
    statuses: &[StageStatus],
    directory: &RunDirectory,
    store: &Store,
    observer: &dyn Observer,
    error: &Error,
) -> Option<RunResult> {
    let recipe = directory.record().ok()?.recipe;
    let asked_anew = selection.forced.iter().zip(&selection.runs).any(|(forced, runs)| *forced && *runs);
    if recipe != plan.recipe || asked_anew || directory.state() != RunState::Complete {
        return None;
    }
    let found: Vec<&FinishedStage> = statuses.iter().filter_map(|status| status.finished.as_ref()).collect();
    let mut stages = plan.stages.iter().zip(&found);
    if found.len() != plan.stages.len()
        || !stages.all(|(stage, found)| directory.has(store, &stage.name, found))
    {
        return None;
    }
    observer.event(&started(plan, directory));
    observer.event(&Event::Warning {
        stage: None,
        message: format!("{error}: the run is complete and remains unchanged"),
    });
    let mut summaries = Vec::new();
    for ((stage, found), _) in plan.stages.iter().zip(found).zip(&selection.runs).filter(|(_, runs)| **runs) {
        let metrics = read_metrics(found);
        observer.event(&Event::StageFinished {
            stage: stage.name.clone(),
            outcome: StageOutcome::Cached,
            seconds: 0.0,
            metrics: numbers(&metrics),
        });
        summaries.push(StageResult::of(stage, StageEnd::Cached, 0.0, metrics));
    }
    let state = RunState::Complete.as_str().to_owned();
    observer.event(&Event::RunFinished { state, seconds: 0.0, error: None, hint: None });
    Some(RunResult {
        run_dir: directory.path().to_owned(),
        state: RunState::Complete,
        stages: summaries,
        error: None,
    })
}
