//! The progress and results of a run, read from its files, for `list` and `status`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::event_log::{events_of, first_event};
use super::locate::{display_name, label_of, name_of};
use super::results::results;
use super::{RunDirectory, RunState, all_runs, diff, read_events};
use crate::digest::Difference;
use crate::error::Result;
use crate::events::Event;
use crate::metrics::{Scores, TaskMetrics};
use crate::{regular_file, task};

/// A summary of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    pub name: String,
    pub id: String,
    /// The run's label in the pipeline's matrix.
    pub label: Option<String>,
    pub path: String,
    pub state: RunState,
    /// The cause, for a failed run.
    pub error: Option<RunFailure>,
    /// The time of the last start.
    pub started: Option<String>,
    /// From the last train stage that has one.
    pub monitor: Option<MonitoredBest>,
    pub stages: Vec<StageOverview>,
    /// The settings, inputs and versions that differ from the previous run of the same name and label.
    pub changes: Vec<Difference>,
}

/// The recorded error of a failed run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunFailure {
    pub message: String,
    /// The hint, if there is one.
    pub hint: Option<String>,
}

/// A summary of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageOverview {
    pub name: String,
    pub kind: String,
    /// `waiting`, `running`, `ran`, `cached` or `resumed`; `unfinished` after a run that did not finish.
    pub status: &'static str,
    pub seconds: Option<f64>,
    /// Finished epochs, and all epochs.
    pub epochs: Option<(u32, u32)>,
    /// The progress within an epoch, or in computing features. Only while it runs.
    pub step: Option<StepProgress>,
    pub monitor: Option<MonitoredBest>,
    pub metrics: BTreeMap<String, f64>,
    /// The metrics of its task.
    #[serde(skip)]
    pub task: &'static TaskMetrics,
}

/// The progress of a stage in its current work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepProgress {
    /// `step`, or `features` while the features of the frozen layers are computed.
    pub of: &'static str,
    /// From 1; images where `of` is `features`.
    pub done: u64,
    pub all: u64,
    pub images_per_second: f64,
    /// The remaining seconds of the whole stage; unknown while features are computed.
    pub seconds_left: Option<f64>,
    /// Means over the epoch so far, by metric.
    #[serde(skip_serializing_if = "Scores::is_empty")]
    pub scores: Scores,
    /// When this was recorded: a run records a step every few seconds.
    pub time: String,
}

/// The best value of the monitored metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonitoredBest {
    pub stage: String,
    /// Such as `validation/accuracy`.
    pub metric: String,
    pub value: f64,
    pub epoch: u32,
}

/// The runs of a name, the latest started first.
pub struct RunsOfName {
    pub name: String,
    /// The first of them.
    pub runs: Vec<RunSummary>,
    /// The number of all.
    pub count: usize,
}

/// A run before it is summarised.
struct ListedRun {
    first_started: Option<String>,
    started: Option<String>,
    label: Option<String>,
    run: RunDirectory,
}

/// All runs below a `runs` folder: by name, and within a name the latest started first. Of each name, at most `most` are
/// summarised.
pub fn list(runs: &Path, most: usize) -> Result<Vec<RunsOfName>> {
    let mut by_name: BTreeMap<String, Vec<RunDirectory>> = BTreeMap::new();
    all_runs(runs)?.into_iter().for_each(|run| by_name.entry(name_of(&run)).or_default().push(run));
    by_name.into_iter().map(|(name, runs)| of_name(name, runs, most)).collect()
}

fn of_name(name: String, runs: Vec<RunDirectory>, most: usize) -> Result<RunsOfName> {
    let listed = |run: RunDirectory| {
        let started = events_of(&run, &["run_started"]).pop().map(|(time, _)| time);
        ListedRun { first_started: first_started(&run), started, label: label_of(&run), run }
    };
    let mut all: Vec<ListedRun> = runs.into_par_iter().map(listed).collect();
    // In order of first start, so that "previous" does not change when an old run is repeated.
    all.sort_by(|a, b| (&a.first_started, a.run.id()).cmp(&(&b.first_started, b.run.id())));
    let mut latest: HashMap<&Option<String>, usize> = HashMap::new();
    let before: Vec<Option<usize>> =
        all.iter().enumerate().map(|(index, run)| latest.insert(&run.label, index)).collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| all[*b].started.cmp(&all[*a].started));
    order.truncate(most);
    let summary = |index: usize| {
        let run = &all[index].run;
        let mut summary = summarize(run).map_err(|error| {
            error.within(display_name(run)).hint("run its pipeline again, or delete its folder")
        })?;
        if let Some(before) = before[index] {
            summary.changes = diff(&all[before].run, run)?.causes;
        }
        Ok(summary)
    };
    let runs = order.into_par_iter().map(summary).collect::<Result<_>>()?;
    Ok(RunsOfName { name, runs, count: all.len() })
}

/// The time of the first event of a run.
pub(super) fn first_started(run: &RunDirectory) -> Option<String> {
    first_event(run)
}

/// Summarises one run.
///
/// # Errors
/// Its plan cannot be read.
pub fn summarize(run: &RunDirectory) -> Result<RunSummary> {
    let record = run.record()?;
    let state = run.state();
    let settings = run.settings().unwrap_or_default();
    let events = read_events(run);
    let start = events.iter().rposition(|(_, event)| matches!(event, Event::RunStarted { .. })).unwrap_or(0);
    let (started, events) =
        (events.get(start).map(|(time, _)| time.clone()), &events[start.min(events.len())..]);
    let stages: Vec<StageOverview> = record
        .stages
        .iter()
        .map(|stage| {
            let metric = settings["stage"][&stage.name]["monitor"].as_str();
            StageOverview {
                monitor: metric.and_then(|metric| monitored(run, &stage.name, metric)),
                metrics: results(run, &stage.name),
                task: task::of_stage(&stage.kind, &stage.document)
                    .map(|task| task.metrics)
                    .unwrap_or_default(),
                ..progress(&stage.name, &stage.kind, state, events)
            }
        })
        .collect();
    Ok(RunSummary {
        name: name_of(run),
        id: run.id(),
        label: record.label,
        path: run.path().display().to_string(),
        state,
        error: if state == RunState::Failed { failure(events) } else { None },
        started,
        monitor: stages.iter().rev().find_map(|stage| stage.monitor.clone()),
        stages,
        changes: Vec::new(),
    })
}

fn failure(events: &[(String, Event)]) -> Option<RunFailure> {
    events.iter().rev().find_map(|(_, event)| match event {
        Event::RunFinished { error: Some(message), hint, .. } => {
            Some(RunFailure { message: message.clone(), hint: hint.clone() })
        }
        _ => None,
    })
}

fn progress(name: &str, kind: &str, state: RunState, events: &[(String, Event)]) -> StageOverview {
    let unfinished = if state == RunState::Running { "running" } else { "unfinished" };
    let mut summary = StageOverview {
        name: name.to_owned(),
        kind: kind.to_owned(),
        status: "waiting",
        seconds: None,
        epochs: None,
        step: None,
        monitor: None,
        metrics: BTreeMap::new(),
        task: &TaskMetrics::NONE,
    };
    for (time, event) in events {
        match event {
            Event::StageStarted { stage, .. } if stage == name => summary.status = unfinished,
            Event::Step { stage, epoch, epochs, step, steps, scores, images_per_second, seconds_left }
                if stage == name =>
            {
                summary.epochs = Some((epoch.saturating_sub(1), *epochs));
                summary.step = Some(StepProgress {
                    of: "step",
                    done: *step,
                    all: *steps,
                    images_per_second: *images_per_second,
                    seconds_left: Some(*seconds_left).filter(|left| left.is_finite() && *left >= 0.0),
                    scores: scores.clone(),
                    time: time.clone(),
                });
            }
            Event::Features { stage, done, of, images_per_second } if stage == name => {
                summary.step = Some(StepProgress {
                    of: "features",
                    done: *done,
                    all: *of,
                    images_per_second: *images_per_second,
                    seconds_left: None,
                    scores: Scores::new(),
                    time: time.clone(),
                });
            }
            Event::EpochFinished { stage, epoch, epochs, .. } if stage == name => {
                summary.epochs = Some((*epoch, *epochs));
                summary.step = None;
            }
            Event::StageFinished { stage, outcome, seconds, .. } if stage == name => {
                summary.status = outcome.as_str();
                summary.seconds = Some(*seconds);
                summary.step = None;
            }
            _ => {}
        }
    }
    if state != RunState::Running {
        summary.step = None;
    }
    summary
}

/// The monitored value in the best row of `history.csv`: the last row marked as best.
pub(super) fn monitored(run: &RunDirectory, stage: &str, metric: &str) -> Option<MonitoredBest> {
    let row = best_row(run, stage)?;
    let value = *row.get(&metric.replace('/', "_"))?;
    Some(MonitoredBest {
        stage: stage.to_owned(),
        metric: metric.to_owned(),
        value,
        epoch: *row.get("epoch")? as u32,
    })
}

fn best_row(run: &RunDirectory, stage: &str) -> Option<BTreeMap<String, f64>> {
    let mut reader =
        csv::Reader::from_reader(regular_file::open(&run.stage(stage).join("history.csv")).ok()?);
    let header = reader.headers().ok()?.clone();
    let marked = |row: &csv::StringRecord| {
        header.iter().zip(row).any(|(name, value)| name == "is_best" && value == "true")
    };
    let best = reader.records().map_while(std::result::Result::ok).filter(marked).last()?;
    Some(
        header
            .iter()
            .zip(&best)
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect(),
    )
}
