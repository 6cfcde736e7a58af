//! `defrost plan` of a file with a search: its rungs, what is finished, and how the later rungs begin.

use std::process::ExitCode;

use defrost::estimate::Estimate;
use defrost::plan::Status;
use defrost::report::duration;
use defrost::run::{self, RunDirectory, RungSample, SampleOutcome};
use defrost::{Result, sanitize};
use serde_json::{Value, json};

use super::super::console::shown;
use super::super::estimates::{self, Estimates};
use super::super::session::Session;
use super::super::{Console, PipelineOptions};
use super::Searched;
use super::table;

/// A rung as it is planned.
struct PlannedRung {
    samples: usize,
    /// Samples whose stage is in the store.
    finished: usize,
    /// How the stage of an unfinished sample begins.
    begins: Option<String>,
    /// Of all unfinished samples. An upper bound.
    seconds: Option<f64>,
    run_dirs: Vec<Value>,
}

/// Shows the rungs. The samples of a rung are known once the rungs before are finished.
pub fn plan(
    mut searched: Searched,
    file: &std::path::Path,
    options: &PipelineOptions,
    rehash: bool,
    console: &Console,
) -> Result<ExitCode> {
    let search = searched.search.clone();
    let better = table::better(search.monitor.lower_is_better());
    console.say(format!(
        "search of {} samples, ranked by {} of `{}` ({better} is better)",
        search.samples.len(),
        run::metric_name(search.monitor),
        shown(&search.stage)
    ));
    for (setting, first) in search.settings.iter().zip(&search.samples[0]) {
        console.say(format!("    {}  ({first} in sample 1)", shown(&setting.path)));
    }
    let sizes = search.sizes();
    let (mut known, mut documents, mut total) = (Some(searched.all()), Vec::new(), Some(0.0));
    for (rung, size) in sizes.iter().copied().enumerate() {
        // Of a rung whose samples are not known yet, any sample shows what the others need.
        let samples = known.clone().unwrap_or_else(|| vec![1]);
        let runs = searched.take(rung, &samples);
        let sessions = Session::of(runs, file, options, rehash, console)?;
        let (planned, outcomes) = planned(&sessions, &samples, size, known.is_some(), &search)?;
        say(&search, rung, &planned, console);
        total = total.zip(planned.seconds).map(|(all, more)| all + more);
        documents.push(json!({
            "epochs": (rung < search.rungs()).then(|| search.epochs(rung)).flatten(),
            "whole_file": rung == search.rungs(),
            "samples": planned.samples,
            "finished": planned.finished,
            "begins": planned.begins,
            "seconds": planned.seconds,
            "known": known.is_some(),
            "runs": planned.run_dirs,
        }));
        let finished =
            rung < search.rungs() && outcomes.iter().all(|sample| sample.outcome != SampleOutcome::Open);
        known = known.filter(|_| finished).map(|_| run::going_on(&search, rung, &outcomes));
    }
    if let Some(seconds) = total {
        console.say(format!("total estimate: at most {}", duration(seconds)));
    }
    if console.json() {
        let known = documents.iter().filter(|rung| rung["known"] == true);
        let all: Vec<Value> =
            known.flat_map(|rung| rung["runs"].as_array().cloned().unwrap_or_default()).collect();
        console.document(&json!({ "search": &*search, "rungs": documents, "runs": all }));
    }
    Ok(ExitCode::SUCCESS)
}

fn planned(
    sessions: &[Session],
    samples: &[usize],
    size: usize,
    known: bool,
    search: &defrost::pipeline::Search,
) -> Result<(PlannedRung, Vec<RungSample>)> {
    let (mut outcomes, mut run_dirs) = (Vec::new(), Vec::new());
    let mut rung = PlannedRung {
        samples: if known { samples.len() } else { size },
        finished: 0,
        begins: None,
        seconds: Some(0.0),
        run_dirs: Vec::new(),
    };
    let mut estimates: Option<Estimates> = None;
    for (session, sample) in sessions.iter().zip(samples) {
        let statuses = session.statuses()?;
        let directory = RunDirectory::locate(&session.runs, &session.plan.name, &session.plan.recipe)?;
        let run_dir = directory.path().to_owned();
        let outcome = SampleOutcome::of(&run_dir, search)?;
        rung.finished += usize::from(known && outcome != SampleOutcome::Open);
        let stages = session.plan.stages.iter().zip(&statuses).map(|(stage, status)| {
            json!({
                "name": stage.name,
                "kind": stage.work.kind(),
                "recipe": stage.recipe,
                "key": status.key,
                "status": status.status,
                "reasons": status.reasons,
                "continues_after_epochs": status.continues_after,
            })
        });
        run_dirs.push(json!({
            "label": session.pipeline.label,
            "run_dir": run_dir,
            "finished": outcome != SampleOutcome::Open,
            "stages": stages.collect::<Vec<_>>(),
        }));
        outcomes.push(RungSample { sample: *sample, outcome, run_dir });
        if known && outcomes.last().is_some_and(|last| last.outcome != SampleOutcome::Open) {
            continue;
        }
        let estimates = estimates.get_or_insert_with(|| Estimates::open(session));
        for (stage, status) in session.plan.stages.iter().zip(&statuses) {
            if status.status == Status::Hit {
                continue;
            }
            if stage.name == search.stage && rung.begins.is_none() {
                rung.begins = Some(match (status.continues_after, stage.depends_on_epochs()) {
                    (Some(epochs), _) => format!("continue after {epochs} finished epochs"),
                    (None, Some(why)) => format!("train from the start: {why}"),
                    (None, None) if session.pipeline.run.keep_training_state => {
                        "continue after the epochs of the rung before".to_owned()
                    }
                    (None, None) => "train from the start: `run.keep_training_state` is off".to_owned(),
                });
            }
            let workload = estimates.workload(stage, &estimates::found(session, stage, &statuses)?);
            let estimate: Option<Estimate> = estimates.forecast(&workload);
            rung.seconds = rung.seconds.zip(estimate).map(|(all, estimate)| all + estimate.seconds);
        }
    }
    if !known {
        rung.seconds = rung.seconds.map(|seconds| seconds * size as f64);
    }
    rung.run_dirs = run_dirs;
    Ok((rung, outcomes))
}

fn say(search: &defrost::pipeline::Search, rung: usize, planned: &PlannedRung, console: &Console) {
    let heading = match rung < search.rungs() {
        true => table::heading(search, rung, planned.samples),
        false => format!("the whole file: {}", sanitize::count(planned.samples, "best sample")),
    };
    let mut notes = Vec::new();
    if planned.finished > 0 {
        notes.push(format!("{} finished", planned.finished));
    }
    if planned.finished < planned.samples {
        // In the first rung, nothing can be continued that a person would expect.
        notes.extend(planned.begins.clone().filter(|_| rung > 0 && rung < search.rungs()));
        notes.extend(
            planned
                .seconds
                .filter(|seconds| *seconds > 0.0)
                .map(|seconds| format!("at most {}", duration(seconds))),
        );
    }
    let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join("; ")) };
    console.say(format!("{heading}{}", shown(notes)));
}
