//! The runs of a file on a cluster: the state of each run directory, joined with the queue.
//!
//! The run directory says what a run has reached. The queue says whether a job will continue it.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use defrost::Result;
use defrost::run::{
    self, RunDirectory, RunState, RunSummary, Submission, SubmittedTask, TaskReport, TaskState,
};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::super::console::shown;
use super::super::executor::queue::{self, Queue, QueuedJob};
use super::super::page::PageOptions;
use super::super::{Console, list};
use super::details;

/// Interval between two updates: each asks the controller of the cluster once.
const INTERVAL: Duration = Duration::from_secs(15);

/// A run, or what several runs share.
#[derive(Serialize)]
struct Row {
    name: String,
    label: Option<String>,
    /// The shared stages that the job computes before the runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shared_stages: Vec<String>,
    run_dir: PathBuf,
    /// `waiting` if the run directory does not exist yet.
    state: &'static str,
    job: Option<QueuedJob>,
    restarts: u32,
    log: Option<PathBuf>,
    /// The error of the run or of its job.
    error: Option<String>,
    /// What to do.
    note: Option<String>,
    #[serde(skip)]
    progress: String,
}

pub fn show(
    file: &str,
    submissions: &[Submission],
    watch: bool,
    page: PageOptions,
    console: &Console,
) -> Result<ExitCode> {
    let in_place = std::io::stdout().is_terminal();
    let mut before = String::new();
    loop {
        let asked = queue::of(submissions);
        if let Err(error) = &asked {
            console.warn(format!("the queue is unknown: {error}"));
        }
        let queue = asked.ok();
        let rows = rows(file, submissions, queue.as_ref());
        if console.json() {
            console.document(&json!({ "queue_known": queue.is_some(), "runs": rows }));
            return Ok(ExitCode::SUCCESS);
        }
        let text = text(&rows, page);
        if text != before {
            let lines = before.lines().count();
            if watch && in_place && lines > 0 {
                console.raw(format!("\x1b[{lines}F\x1b[J").as_bytes());
            }
            console.say(&text);
            before = text;
        }
        if !watch || rows.iter().all(|row| row.job.is_none()) {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The runs of the newest submission of each label. Tasks of what they share, and runs of earlier settings, only while they
/// are in the queue.
fn rows(file: &str, submissions: &[Submission], queue: Option<&Queue>) -> Vec<Row> {
    let (mut rows, mut old, mut labels, mut directories) =
        (Vec::new(), Vec::new(), BTreeSet::new(), BTreeSet::new());
    for submission in submissions {
        let record = &submission.record;
        for (array, index, task) in submission.tasks().filter(|(.., task)| !task.is_run()) {
            let row = shared(file, submission, (array, index, task), queue);
            old.extend(row.job.is_some().then_some(row));
        }
        let (mut places, mut has_task) = (vec![None; record.runs.len()], vec![false; record.runs.len()]);
        for (array, index, task) in submission.tasks() {
            task.serves.iter().for_each(|run| has_task[*run] = true);
            if task.is_run() {
                has_task[task.run] = true;
                places[task.run] = Some((array, index));
            }
        }
        let row = |index: usize| of_run(file, submission, index, places[index], queue);
        let of_runs: Vec<Row> = (0..record.runs.len()).into_par_iter().map(row).collect();
        for ((index, run), row) in record.runs.iter().enumerate().zip(of_runs) {
            let newest = !labels.contains(&run.frozen.label);
            let place = places[index];
            // A run without a task was complete, or in the queue of an earlier submission.
            let known = directories.contains(&run.run_dir);
            if known || (place.is_none() && row.state != RunState::Complete.as_str()) {
                continue;
            }
            if newest {
                directories.insert(&run.run_dir);
                rows.push(row);
            } else if row.job.is_some() {
                directories.insert(&run.run_dir);
                old.push(Row { note: Some("of earlier settings".to_owned()), ..row });
            }
        }
        labels.extend(record.runs.iter().enumerate().filter_map(|(index, run)| {
            (directories.contains(&run.run_dir) || has_task[index]).then_some(run.frozen.label.clone())
        }));
    }
    old.extend(rows);
    old
}

fn of_run(
    file: &str,
    submission: &Submission,
    run: usize,
    place: Option<(usize, usize)>,
    queue: Option<&Queue>,
) -> Row {
    let submitted = &submission.record.runs[run];
    let directory = RunDirectory::open(&submitted.run_dir).ok();
    let complete = directory.as_ref().is_some_and(|run| run.state() == RunState::Complete);
    // Nothing more is shown of a complete run.
    let summary = directory.filter(|_| !complete).and_then(|run| run::summarize(&run).ok());
    let job = place.and_then(|place| job(submission, place, queue));
    let report = place.and_then(|(array, index)| submission.report(array, index));
    let (state, note, error) =
        joined(file, complete, summary.as_ref(), job.as_ref(), report.as_ref(), queue.is_some());
    Row {
        name: submitted.name.clone(),
        label: submitted.frozen.label.clone(),
        shared_stages: Vec::new(),
        run_dir: submitted.run_dir.clone(),
        state,
        restarts: report.as_ref().map_or(0, |report| report.restarts),
        log: place.and_then(|place| log(submission, place)),
        error,
        note,
        progress: summary.as_ref().map_or_else(String::new, progress),
        job,
    }
}

fn shared(
    file: &str,
    submission: &Submission,
    (array, index, task): (usize, usize, &SubmittedTask),
    queue: Option<&Queue>,
) -> Row {
    let what = if task.features { "features of " } else { "" };
    let stages = task.stages.iter().map(|stage| format!("{what}{stage}")).collect();
    Row { shared_stages: stages, ..of_run(file, submission, task.run, Some((array, index)), queue) }
}

fn job(submission: &Submission, (array, index): (usize, usize), queue: Option<&Queue>) -> Option<QueuedJob> {
    let job = submission.record.arrays[array].job.clone()?;
    queue?.get(&(job, index)).cloned()
}

/// The log of a task, if it has begun.
fn log(submission: &Submission, (array, index): (usize, usize)) -> Option<PathBuf> {
    let job = submission.record.arrays[array].job.as_deref()?;
    Some(submission.logs().join(format!("{job}_{index}.log"))).filter(|log| log.is_file())
}

/// The state of a run, what to do about it, and its error.
fn joined(
    file: &str,
    complete: bool,
    summary: Option<&RunSummary>,
    job: Option<&QueuedJob>,
    report: Option<&TaskReport>,
    queue_known: bool,
) -> (&'static str, Option<String>, Option<String>) {
    let state = summary.map(|summary| summary.state);
    if complete || state == Some(RunState::Complete) {
        return (RunState::Complete.as_str(), None, None);
    }
    let again = || Some(format!("no job: `defrost submit {file}` continues it"));
    if let Some(job) = job {
        let note = if job.is_held() {
            Some(format!("it waits until `scontrol release {}`", job.id))
        } else if job.reason == "DependencyNeverSatisfied" {
            Some(format!("it never starts: `defrost cancel {file}`, then submit again"))
        } else {
            None
        };
        let state = match (job.state.as_str(), state) {
            ("RUNNING", Some(RunState::Running)) => RunState::Running.as_str(),
            ("RUNNING", _) => "starting",
            ("PENDING", None) => "waiting",
            ("PENDING", Some(_)) => RunState::Interrupted.as_str(),
            (_, None) => "waiting",
            (_, Some(state)) => state.as_str(),
        };
        return (state, note, None);
    }
    let failure = report.filter(|report| report.state == TaskState::Failed);
    if let Some(report) = failure {
        let fix = Some(format!("no job: fix the cause, then `defrost submit {file}`"));
        return (RunState::Failed.as_str(), fix.filter(|_| queue_known), report.message.clone());
    }
    let error = summary.and_then(|summary| summary.error.as_ref()).map(|error| error.message.clone());
    let state = state.map_or("waiting", RunState::as_str);
    (state, again().filter(|_| queue_known), error)
}

/// What the stage that the run has reached is doing.
fn progress(run: &RunSummary) -> String {
    if run.state == RunState::Complete {
        return String::new();
    }
    let open = run.stages.iter().find(|stage| matches!(stage.status, "running" | "unfinished"));
    open.map_or_else(String::new, |stage| {
        let details = details(stage, SystemTime::now());
        format!("{} {details}", stage.name).trim_end().to_owned()
    })
}

fn text(all: &[Row], page: PageOptions) -> String {
    let most = page.rows(all.len());
    let mut rows: Vec<&Row> = all.iter().collect();
    if most < all.len() {
        // Of many runs, those that need attention come first.
        let order = ["failed", "interrupted", "running", "starting"];
        rows.sort_by_key(|row| match order.iter().position(|state| *state == row.state) {
            Some(place) => place,
            None => order.len() + usize::from(row.state == RunState::Complete.as_str()),
        });
        rows.truncate(most);
    }
    let titles: Vec<String> = rows.iter().map(|row| title(row)).collect();
    let jobs: Vec<String> =
        rows.iter().map(|row| row.job.as_ref().map_or_else(String::new, job_text)).collect();
    let width = |texts: &[String]| texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let (names, widest) = (width(&titles), width(&jobs));
    let mut text = String::new();
    for ((row, title), job) in rows.iter().zip(&titles).zip(&jobs) {
        let id = row.run_dir.file_name().unwrap_or_default().to_string_lossy();
        let state = list::state_word(row.state, 11);
        let line = format!(
            "{:names$}  {:8}  {state}  {:widest$}  {}",
            shown(title),
            shown(id),
            shown(job),
            shown(&row.progress)
        );
        text += line.trim_end();
        text += "\n";
        let details = row.error.iter().map(|error| format!("error: {error}")).chain(row.note.clone());
        let log = row.log.iter().filter(|_| row.error.is_some()).map(|log| format!("log: {}", log.display()));
        details.chain(log).for_each(|detail| text += &format!("{:names$}  {}\n", "", shown(detail)));
    }
    if most < all.len() {
        text += &format!("and {} more: `--all` or `--limit N` shows them\n", all.len() - most);
    }
    text + &total(all)
}

fn title(row: &Row) -> String {
    let run = row.label.clone().unwrap_or_else(|| row.name.clone());
    if row.shared_stages.is_empty() { run } else { format!("shared: {}", row.shared_stages.join(", ")) }
}

/// `12_3 RUNNING on n1, 0:58 left`.
fn job_text(job: &QueuedJob) -> String {
    let mut text = format!("{} {}", job.id, job.state);
    if job.state == "PENDING" && !["None", ""].contains(&job.reason.as_str()) {
        text += &format!(" ({})", job.reason);
    }
    if !job.node.is_empty() {
        text += &format!(" on {}, {} left", job.node, job.time_left);
    }
    text
}

fn total(rows: &[Row]) -> String {
    let runs: Vec<&Row> = rows.iter().filter(|row| row.shared_stages.is_empty()).collect();
    let complete = runs.iter().filter(|row| row.state == RunState::Complete.as_str()).count();
    let jobs = rows.iter().filter(|row| row.job.is_some()).count();
    format!("{complete} of {} runs are complete; {jobs} jobs are in the queue", runs.len())
}
