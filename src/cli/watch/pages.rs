//! What `defrost watch` answers: the list of runs, a page for each run, its report, and the files that the report links.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use defrost::regular_file;
use defrost::report::{
    LiveRun, LiveStage, ReportData, duration, live_list_html, live_run_html, minute, report_html,
};
use defrost::run::{self, RunDirectory, RunSummary, RunWatch, StageOverview};
use defrost::{Error, Result};

use super::super::console::shown;
use super::super::{Console, RunsOptions, list, report, status};
use super::http::{Answer, Body};
use super::request::Request;

/// Runs are read at most this often, for any number of open pages.
const INTERVAL: Duration = Duration::from_secs(1);

const SCRIPT: &str = "watch.js";
/// A page loads the script and newer pages, and nothing else.
const PAGE: &str =
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; img-src data:";
const REPORT: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
const FILE: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// The watched runs, and the pages about them.
pub struct Pages {
    secret: String,
    watched: Watched,
    board: Mutex<Board>,
}

enum Watched {
    /// All runs below a folder.
    All(PathBuf),
    /// Arguments, each with its folder of runs.
    Named(Vec<(String, PathBuf)>),
}

/// The runs as they were last read.
#[derive(Default)]
struct Board {
    read: Option<Instant>,
    watch: RunWatch,
    runs: Vec<(RunDirectory, Result<RunSummary, String>)>,
}

impl Watched {
    fn find(&self) -> Result<Vec<RunDirectory>> {
        match self {
            Self::All(folder) => run::all_runs(folder),
            Self::Named(arguments) => {
                let mut found: Vec<RunDirectory> = Vec::new();
                for (argument, folder) in arguments {
                    for run in run::resolve_runs(argument, folder)? {
                        if !found.contains(&run) {
                            found.push(run);
                        }
                    }
                }
                Ok(found)
            }
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::All(folder) => folder.display().to_string(),
            Self::Named(arguments) => {
                arguments.iter().map(|(argument, _)| argument.as_str()).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

impl Pages {
    /// # Errors
    /// An argument names no run.
    pub fn new(
        arguments: &[String],
        options: &RunsOptions,
        console: &Console,
        secret: String,
    ) -> Result<Self> {
        let watched = if arguments.is_empty() {
            Watched::All(options.root()?)
        } else {
            let folder = |argument: &String| {
                options.resolve_all(argument, console)?;
                Ok((argument.clone(), options.root_of(argument)?))
            };
            Watched::Named(arguments.iter().map(folder).collect::<Result<_>>()?)
        };
        Ok(Self { secret, watched, board: Mutex::default() })
    }

    /// The path of the list.
    pub fn root(&self) -> String {
        format!("/{}/", self.secret)
    }

    pub fn answer(&self, request: &Request) -> Answer {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let path = match path.split_first() {
            Some((first, path)) if *first == self.secret => path,
            _ => return Answer::text(404, "use the whole address that `defrost watch` printed"),
        };
        match path {
            [""] => self.list(),
            [SCRIPT] => Answer {
                status: 200,
                kind: "text/javascript; charset=utf-8",
                body: Body::Bytes(include_bytes!("watch.js").to_vec()),
                policy: "default-src 'none'",
            },
            ["run", name, id, file @ ..] => self.of_run(name, id, file),
            _ => missing(),
        }
    }

    fn list(&self) -> Answer {
        let runs: Vec<LiveRun> = self.runs().runs.iter().map(|(run, summary)| live(run, summary)).collect();
        page(live_list_html(&self.watched.in_words(), &runs, SCRIPT), PAGE)
    }

    fn of_run(&self, name: &str, id: &str, file: &[&str]) -> Answer {
        // Only runs of the list are found, so no name leads elsewhere.
        let found = self
            .runs()
            .runs
            .iter()
            .find(|(run, summary)| named(run, summary) == (name.into(), id.into()))
            .cloned();
        let Some((run, summary)) = found else { return missing() };
        let answer = match file {
            [""] => Ok(page(live_run_html(&live(&run, &summary), &format!("../../../{SCRIPT}")), PAGE)),
            ["report.html"] => report::whole(&run).map(|data| page(report_html(&data), REPORT)),
            file => linked(&run, &file.join("/")),
        };
        answer.unwrap_or_else(|error: Error| Answer::text(500, &shown(error)))
    }

    /// The runs, read again if that was some time ago. The latest are first.
    fn runs(&self) -> MutexGuard<'_, Board> {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        if board.read.is_none_or(|read| read.elapsed() >= INTERVAL) {
            // Without the folder, the list stays as it was.
            if let Ok(found) = self.watched.find() {
                let summaries = board.watch.summaries(&found);
                board.runs = found.into_iter().zip(summaries).collect();
                board.runs.sort_by_key(|(_, summary)| {
                    std::cmp::Reverse(summary.as_ref().ok().and_then(|summary| summary.started.clone()))
                });
            }
            board.read = Some(Instant::now());
        }
        board
    }
}

fn page(text: String, policy: &'static str) -> Answer {
    Answer { status: 200, kind: "text/html; charset=utf-8", body: Body::Bytes(text.into_bytes()), policy }
}

fn missing() -> Answer {
    Answer::text(404, "there is no such page")
}

/// A file that the report of a run links.
fn linked(run: &RunDirectory, file: &str) -> Result<Answer> {
    let data: ReportData = run::report_data(run)?;
    let mut files = data.files.iter().chain(data.stages.iter().flat_map(|stage| &stage.files));
    if !files.any(|linked| linked == file) {
        return Ok(missing());
    }
    let open = || -> Option<(File, u64)> {
        let path = run.path().join(file).canonicalize().ok()?;
        // A link in a run from elsewhere could lead out of it.
        let inside = path.starts_with(run.path().canonicalize().ok()?);
        let file = regular_file::open(&path).ok().filter(|_| inside)?;
        let length = file.metadata().ok()?.len();
        Some((file, length))
    };
    let Some((opened, length)) = open() else { return Ok(missing()) };
    let kind = match file.rsplit('.').next() {
        Some("csv" | "toml" | "txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg") => "image/jpeg",
        _ => "application/octet-stream",
    };
    Ok(Answer { status: 200, kind, body: Body::File(opened, length), policy: FILE })
}

/// The name and id of a run, also of one that cannot be read.
fn named(run: &RunDirectory, summary: &Result<RunSummary, String>) -> (String, String) {
    let folder = || run.path().parent().and_then(|folder| folder.file_name()).unwrap_or_default();
    let name = summary.as_ref().map(|summary| summary.name.clone());
    (name.unwrap_or_else(|_| folder().to_string_lossy().into_owned()), run.id())
}

fn live(run: &RunDirectory, summary: &Result<RunSummary, String>) -> LiveRun {
    let (name, id) = named(run, summary);
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => {
            return LiveRun {
                name,
                id,
                state: "unreadable".into(),
                error: Some(error.clone()),
                ..LiveRun::default()
            };
        }
    };
    LiveRun {
        name,
        id,
        label: summary.label.clone(),
        state: summary.state.to_string(),
        started: summary.started.as_deref().map(minute),
        error: summary.error.as_ref().map(|failure| match &failure.hint {
            Some(hint) => format!("{} ({hint})", failure.message),
            None => failure.message.clone(),
        }),
        best: summary.monitor.as_ref().map(list::monitored),
        stages: summary.stages.iter().map(|stage| live_stage(run, stage)).collect(),
    }
}

fn live_stage(run: &RunDirectory, stage: &StageOverview) -> LiveStage {
    let step = stage.step.as_ref().map(|step| (step.of, step.done as f64 / step.all.max(1) as f64));
    let done = match (step, stage.epochs) {
        (Some(("features", done)), _) | (Some((_, done)), None) => Some(done),
        (step, Some((epoch, epochs))) => {
            let within = step.map_or(0.0, |(_, done)| done);
            Some((f64::from(epoch) + within) / f64::from(epochs.max(1)))
        }
        (None, None) => None,
    };
    LiveStage {
        name: stage.name.clone(),
        kind: stage.kind.clone(),
        status: stage.status.to_owned(),
        done: done.filter(|_| stage.status == "running"),
        details: status::details(stage, SystemTime::now()),
        time: stage.seconds.filter(|_| stage.status != "cached").map(duration),
        history: run::epochs(run, &stage.name),
        metrics: stage.task,
    }
}
