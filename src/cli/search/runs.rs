//! Runs a search: rung by rung, then the whole file with the best samples.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use defrost::error::ErrorKind;
use defrost::pipeline::{Resolved, Search};
use defrost::plan::StageDraft;
use defrost::report::{SearchReport, duration};
use defrost::run::{self, Interrupt, RunDirectory, RunState, RungSample, SampleOutcome};
use defrost::{Error, Result, sanitize};
use serde_json::{Value, json};

use super::super::console::shown;
use super::super::execution::{self, Selection};
use super::super::executor::local;
use super::super::ranks::Together;
use super::super::session::{LoadedRuns, Session};
use super::super::{Console, PipelineOptions, estimates};
use super::table;

/// The loaded runs of a search.
pub struct Searched {
    pub search: Arc<Search>,
    pub name: String,
    /// For each rung, and at last for the whole file: the run of each sample until it is taken.
    loaded: Vec<Vec<Option<LoadedRun>>>,
}

type LoadedRun = (Resolved, Vec<StageDraft>);

impl Searched {
    /// The search of a file; its runs if it has none.
    pub fn of(runs: LoadedRuns) -> Result<Self, LoadedRuns> {
        let Some(first) = runs.first().and_then(|(run, _)| run.of_search.clone()) else { return Err(runs) };
        let name = runs.first().map(|(run, _)| run.name.clone()).unwrap_or_default();
        let rungs = first.search.rungs();
        let mut loaded: Vec<Vec<_>> = (0..=rungs).map(|_| Vec::new()).collect();
        for run in runs {
            let rung = run.0.of_search.as_ref().and_then(|of| of.rung).unwrap_or(rungs);
            loaded[rung].push(Some(run));
        }
        Ok(Self { search: first.search, name, loaded })
    }

    /// The runs of some samples in a rung, or after the last rung those of the whole file.
    pub fn take(&mut self, rung: usize, samples: &[usize]) -> LoadedRuns {
        samples.iter().filter_map(|sample| self.loaded[rung].get_mut(sample - 1)?.take()).collect()
    }

    pub fn all(&self) -> Vec<usize> {
        (1..=self.search.samples.len()).collect()
    }
}

/// What a search runs with.
pub struct SearchOptions<'a> {
    pub file: &'a Path,
    pub pipeline: &'a PipelineOptions,
    pub rehash: bool,
    pub jobs: usize,
}

/// Runs the rungs, and then the whole file with the best samples. Finished runs are not computed again.
pub fn run(
    mut searched: Searched,
    options: &SearchOptions,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<ExitCode> {
    let search = Arc::clone(&searched.search);
    let mut progress = SearchProgress {
        name: searched.name.clone(),
        search: Arc::clone(&search),
        runs_dir: options.pipeline.runs(options.file)?,
        rungs: Vec::new(),
        best: Vec::new(),
    };
    let mut samples = searched.all();
    for rung in 0..search.rungs() {
        let runs = searched.take(rung, &samples);
        let sessions = Session::of(runs, options.file, options.pipeline, options.rehash, console)?;
        console.status(table::heading(&search, rung, samples.len()));
        let mut run_dirs = Vec::new();
        for session in &sessions {
            let plan = &session.plan;
            run_dirs.push(RunDirectory::locate(&session.runs, &plan.name, &plan.recipe)?.path().to_owned());
        }
        let started = std::time::Instant::now();
        let stopped = execute(&sessions, &run_dirs, &search, options, interrupt, console)?;
        let outcome = |(sample, run_dir): (&usize, &PathBuf)| {
            let outcome = SampleOutcome::of(run_dir, &search)?;
            Ok(RungSample { sample: *sample, outcome, run_dir: run_dir.clone() })
        };
        let entered: Vec<RungSample> = samples.iter().zip(&run_dirs).map(outcome).collect::<Result<_>>()?;
        let open = entered.iter().filter(|sample| sample.outcome == SampleOutcome::Open).count();
        progress.rungs.push(entered);
        if let Some(error) = stopped {
            progress.write()?;
            return Err(error);
        }
        if open > 0 {
            progress.write()?;
            let open = sanitize::count(open, "sample");
            return Err(Error::failed(format!("{open} of rung {} did not finish", rung + 1))
                .hint("another process may compute them: run the same command again"));
        }
        samples = run::going_on(&search, rung, &progress.rungs[rung]);
        let report = progress.write()?;
        console.status(table::ended(&search, &report, rung, started.elapsed().as_secs_f64()));
        if samples.is_empty() {
            return Err(all_failed(&progress.rungs[rung], rung));
        }
    }
    let documents = finish(&mut searched, &mut progress, &samples, options, interrupt, console)?;
    let report = progress.write()?;
    console.status(table::best(&report));
    let folder = progress.runs_dir.join(&progress.name).join("search");
    console.status(format!("report of the search: {}", shown(folder.join("search.html").display())));
    if console.json() {
        console.document(&json!({ "runs": documents, "search": report }));
    }
    progress.failures()
}

/// The samples so far.
struct SearchProgress {
    name: String,
    search: Arc<Search>,
    runs_dir: PathBuf,
    rungs: Vec<Vec<RungSample>>,
    best: Vec<(usize, PathBuf)>,
}

impl SearchProgress {
    fn write(&self) -> Result<SearchReport> {
        let report = run::search_report(&self.name, &self.search, &self.rungs, &self.best, &self.runs_dir);
        run::write_search(&self.runs_dir, &report)?;
        Ok(report)
    }

    /// The exit code of a finished search: failed samples are an error, diverged ones included.
    fn failures(&self) -> Result<ExitCode> {
        let all = self.rungs.iter().flatten();
        let failed: Vec<(usize, &str)> =
            all.filter_map(|sample| Some((sample.sample, sample.outcome.error()?))).collect();
        let Some((sample, error)) = failed.first() else { return Ok(ExitCode::SUCCESS) };
        let count = format!("{} of {} samples failed", failed.len(), self.search.samples.len());
        Err(Error::failed(format!("{count}, such as sample {sample}: {error}"))
            .hint("the search went on without them; narrow the space, or fix the cause and run the same command again"))
    }
}

fn all_failed(rung: &[RungSample], place: usize) -> Error {
    let first = rung.iter().find_map(|sample| sample.outcome.error());
    Error::failed(format!("all samples of rung {} failed: {}", place + 1, first.unwrap_or_default()))
        .hint("narrow the space, or fix the cause, and run the same command again")
}

/// Executes the runs of a rung. Returns the error that stopped it, if one did; failed samples do not.
fn execute(
    sessions: &[Session],
    run_dirs: &[PathBuf],
    search: &Search,
    options: &SearchOptions,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<Option<Error>> {
    let missing: Vec<usize> =
        (0..sessions.len()).filter(|at| !is_done(&sessions[*at], &run_dirs[*at])).collect();
    let done = sessions.len() - missing.len();
    if done > 0 {
        console.status(format!("{} finished before", sanitize::count(done, "sample")));
    }
    let ended = |place: usize, at: usize, seconds: Option<f64>| -> Result<()> {
        let label = sessions[at].pipeline.label.as_deref().unwrap_or_default();
        let outcome = SampleOutcome::of(&run_dirs[at], search)?;
        let time = seconds.map(|seconds| format!("  ({})", duration(seconds))).unwrap_or_default();
        let count = format!("{}/{}", done + place + 1, sessions.len());
        console.status(format!("{count:>9}  {}  {}{time}", shown(label), table::outcome(search, &outcome)));
        Ok(())
    };
    if options.jobs > 1 && missing.len() > 1 {
        let chosen: Vec<&Session> = missing.iter().map(|at| &sessions[*at]).collect();
        let mut place = 0;
        let all = local::run_quietly(
            &chosen,
            options.file,
            options.pipeline,
            options.jobs,
            interrupt,
            &mut |index| {
                place += 1;
                ended(place - 1, missing[index], None)
            },
        )?;
        return Ok(all.into_iter().filter_map(|(_, error)| error).find(is_stop));
    }
    for (place, at) in missing.iter().copied().enumerate() {
        estimates::begin_run();
        let started = std::time::Instant::now();
        let session = &sessions[at];
        match execution::execute_quietly(session, interrupt, console) {
            Ok(summary) => {
                if let Some(error) = summary.error.filter(is_stop) {
                    return Ok(Some(error));
                }
            }
            Err(error) if is_stop(&error) => return Ok(Some(error)),
            // The run could not start, so no run directory has its error.
            Err(error) => {
                let label = session.pipeline.label.as_deref().unwrap_or_default();
                return Err(error.within(format!("`{label}`")));
            }
        }
        ended(place, at, Some(started.elapsed().as_secs_f64()))?;
    }
    Ok(None)
}

fn is_stop(error: &Error) -> bool {
    error.kind == ErrorKind::Interrupted
}

/// Whether a run is complete, from exactly this text.
fn is_done(session: &Session, run_dir: &Path) -> bool {
    let same_text = || {
        std::fs::read(run_dir.join("pipeline.toml"))
            .is_ok_and(|text| text == session.pipeline.text.as_bytes())
    };
    RunDirectory::open(run_dir).is_ok_and(|run| run.state() == RunState::Complete) && same_text()
}

/// Runs the whole file with the best samples, the best last: it is then the latest run of its name.
fn finish(
    searched: &mut Searched,
    progress: &mut SearchProgress,
    samples: &[usize],
    options: &SearchOptions,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<Vec<Value>> {
    let rungs = progress.search.rungs();
    let mut documents = Vec::new();
    for sample in samples.iter().rev() {
        let runs = searched.take(rungs, &[*sample]);
        let sessions = Session::of(runs, options.file, options.pipeline, options.rehash, console)?;
        for session in &sessions {
            let label = session.pipeline.label.as_deref().unwrap_or_default();
            console.status(format!("\n\x1b[1m{}\x1b[0m (the whole file)", shown(label)));
            estimates::begin_run();
            let together = Together::alone();
            let summary =
                execution::execute(session, Selection::default(), together, &[], interrupt, console)?;
            let mut document = json!(summary);
            document["label"] = json!(label);
            documents.push(document);
            if let Some(error) = summary.error {
                progress.write()?;
                return Err(error);
            }
            progress.best.insert(0, (*sample, summary.run_dir));
        }
    }
    documents.reverse();
    Ok(documents)
}
