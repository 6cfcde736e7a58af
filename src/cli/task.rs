//! `defrost task`: executes one task of a submission. Batch scripts and `defrost run --jobs` start it; people do not.
//!
//! The signals of a scheduler mean different things. SIGUSR1 and SIGUSR2 announce the time limit: the task saves a
//! checkpoint and puts itself back into the queue. With SIGTERM the scheduler itself ends the job, and knows whether it
//! starts again: the task saves a checkpoint and stays, because a job that ends by itself would count as failed.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use defrost::error::ErrorKind;
use defrost::events::{Event, Observer, StageOutcome};
use defrost::plan::DiskAccess;
use defrost::run::{Interrupt, RunResult, Submission, SubmittedTask, TaskReport, TaskState};
use defrost::{Error, Result, pipeline, plan};
use serde_json::json;

use super::console::shown;
use super::execution::{self, Selection};
use super::executor::slurm::Cluster;
use super::ranks::Together;
use super::session::Session;
use super::signals::{SchedulerSignals, Stop};
use super::{Console, PipelineOptions, fetch};

/// How long a task stays after SIGTERM or after it has put itself back into the queue. Slurm ends it much earlier.
const STAY: Duration = Duration::from_secs(15 * 60);

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the submission
    submission: PathBuf,
    /// Array of tasks
    array: usize,
    /// Task of the array; `SLURM_ARRAY_TASK_ID` by default
    #[arg(long)]
    index: Option<usize>,
    /// Threads, if the run sets none; `SLURM_CPUS_PER_TASK` by default
    #[arg(long)]
    threads: Option<usize>,
    /// Without a scheduler: the end of standard input requests a stop
    #[arg(long)]
    local: bool,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let signals = SchedulerSignals::listen()?;
    let stop = Stop::default();
    let interrupt = stop.listen()?;
    if args.local {
        stop_with_input(interrupt.clone());
    }
    let submission = Submission::open(&args.submission).map_err(|error| {
        error.hint("the folder of runs must be on a file system that all nodes of the cluster share")
    })?;
    let index = args.index.or_else(|| number("SLURM_ARRAY_TASK_ID"));
    let index = index.ok_or_else(|| Error::usage("the task has no index").hint("set `--index N`"))?;
    let job = Job::of_environment();
    let report = |state, message: Option<String>| {
        let (job, host) = (job.array.as_ref().map(|array| format!("{array}_{index}")), job.host.clone());
        submission.write_report(
            args.array,
            index,
            &TaskReport { state, job, host, restarts: job_restarts(), message },
        )
    };
    let task = submission.task(args.array, index)?;
    report(TaskState::Running, None)?;
    let advance = Advance::new(interrupt, task);
    let outcome = execute(&args, &submission, task, &advance, console);
    match outcome {
        Ok(()) => {
            report(TaskState::Complete, None)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.kind == ErrorKind::Interrupted && !args.local => {
            let end = after_stop(&signals, &job, index, &advance, console);
            match &end {
                Ok(()) => report(TaskState::Interrupted, None)?,
                Err(error) => report(TaskState::Failed, Some(error.to_string()))?,
            }
            end?;
            stay(&signals);
            Err(error)
        }
        Err(error) => {
            let stopped = error.kind == ErrorKind::Interrupted;
            let state = if stopped { TaskState::Interrupted } else { TaskState::Failed };
            report(state, Some(error.to_string()))?;
            Err(error)
        }
    }
}

/// Executes the stages of the task, or all.
fn execute(
    args: &Args,
    submission: &Submission,
    task: &SubmittedTask,
    advance: &Advance,
    console: &Console,
) -> Result<()> {
    let record = &submission.record;
    std::env::set_current_dir(&record.folder).map_err(|error| {
        Error::io("enter", &record.folder, error)
            .hint("the folder must be on a file system that all nodes of the cluster share")
    })?;
    require_shared_stages(submission, args.array, task)?;
    let mut session = open(submission, task.run, console)?;
    if session.pipeline.run.threads.is_none() {
        session.pipeline.run.threads = args.threads.or_else(|| number("SLURM_CPUS_PER_TASK"));
    }
    let label = session.pipeline.label.clone();
    if let Some(label) = label.as_deref().filter(|_| !args.local) {
        console.status(format!("\x1b[1m{}\x1b[0m", shown(label)));
    }
    let execute = |until: Option<&str>| -> Result<RunResult> {
        let selection = Selection { until, ..Selection::default() };
        execution::execute(&session, selection, Together::alone(), &[advance], advance.interrupt, console)
    };
    if task.is_run() {
        let summary = execute(None)?;
        if console.json() {
            let mut document = json!(summary);
            label.iter().for_each(|label| document["label"] = json!(label));
            console.document(&document);
        }
        return summary.error.map_or(Ok(()), Err);
    }
    for stage in &task.stages {
        match execute(Some(stage))?.error {
            Some(_) if advance.filled.load(Ordering::Relaxed) => {}
            Some(error) => return Err(error),
            None => {}
        }
    }
    Ok(())
}

/// A stage that failed in its own task would fail here too.
fn require_shared_stages(submission: &Submission, array: usize, task: &SubmittedTask) -> Result<()> {
    for (before, index, shared) in submission.tasks_of(task.run) {
        if before >= array || shared.is_run() || shared.features {
            continue;
        }
        let report = submission.report(before, index);
        if let Some(report) = report.filter(|report| report.state == TaskState::Failed) {
            let message = report.message.unwrap_or_default();
            return Err(Error::failed(format!(
                "the shared stages failed ({}): {message}",
                shared.stages.join(", ")
            ))
            .hint("fix the cause, then submit again: what is finished is cached"));
        }
    }
    Ok(())
}

/// Plans the run as it was submitted. Its data, the files of other pipelines and the program must still be the same.
fn open(submission: &Submission, run: usize, console: &Console) -> Result<Session> {
    let (record, frozen) = (&submission.record, submission.frozen(run)?);
    let invalid = |report: &pipeline::DiagnosticReport| {
        console.report(report, &frozen.file);
        Error::usage(format!("`{}` is no longer valid as it was submitted", frozen.file.display()))
            .hint("submit again")
    };
    let mut resolved =
        frozen.load(&|name| std::env::var(name).ok()).map_err(|report| invalid(&report.brief()))?;
    let hub = fetch::hub();
    resolved.locate_weights(&|name| hub.find(name));
    let drafts = plan::resolve(&resolved, DiskAccess::Inputs).map_err(|report| invalid(&report.brief()))?;
    let runs = vec![(resolved, drafts)];
    let missing = fetch::missing(&runs);
    if !missing.is_empty() {
        return Err(fetch::unfetched(&missing, &frozen.file).hint(
            "`defrost submit` fetched them: set `HF_HOME` to a folder that all nodes of the cluster share",
        ));
    }
    let options = PipelineOptions {
        set: Vec::new(),
        device: None,
        threads: None,
        only: Vec::new(),
        runs_dir: record.names_runs_dir.then(|| record.runs_dir.clone()),
    };
    let mut sessions = Session::of(runs, &frozen.file, &options, false, console)?;
    let session = sessions.pop().ok_or_else(|| Error::bug("a submitted run has no plan"))?;
    if session.plan.recipe != record.runs[run].recipe {
        return Err(Error::failed("the inputs or the program have changed since the run was submitted")
            .hint("submit again; `defrost plan FILE` shows what has changed"));
    }
    Ok(session)
}

/// What follows a stop for the scheduler.
fn after_stop(
    signals: &SchedulerSignals,
    job: &Job,
    index: usize,
    advance: &Advance,
    console: &Console,
) -> Result<()> {
    if signals.terminated() {
        console.status("stopped after SIGTERM: waiting until Slurm ends the job");
        return Ok(());
    }
    let Some(array) = job.array.as_ref().filter(|_| signals.notice()) else { return Ok(()) };
    if job_restarts() > 0 && !advance.advanced.load(Ordering::Relaxed) {
        return Err(Error::failed(
            "no checkpoint was saved since the job started again, so it would never end",
        )
        .hint("set a longer `time` in `[run.slurm]`, then submit again"));
    }
    Cluster(None).requeue(array, index)?;
    console.status(format!("back in the queue as {array}_{index}"));
    Ok(())
}

/// Stays until Slurm ends the job, if it will.
fn stay(signals: &SchedulerSignals) {
    let since = Instant::now();
    while (signals.terminated() || signals.notice()) && since.elapsed() < STAY {
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Requests a stop at the end of standard input, when the process that started this one asks for it or is gone.
fn stop_with_input(interrupt: Interrupt) {
    std::thread::spawn(move || {
        let mut nothing = [0; 64];
        while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
        interrupt.request();
    });
}

/// The job, from the environment.
struct Job {
    /// The id of the array.
    array: Option<String>,
    host: Option<String>,
}

impl Job {
    fn of_environment() -> Self {
        let host = std::env::var("SLURMD_NODENAME").ok().or_else(|| {
            std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_owned())
        });
        Self { array: std::env::var("SLURM_ARRAY_JOB_ID").ok(), host }
    }
}

fn job_restarts() -> u32 {
    number("SLURM_RESTART_COUNT").unwrap_or(0)
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// Observes whether the task has got further than before, and stops a task for features once they are stored.
struct Advance<'a> {
    interrupt: &'a Interrupt,
    /// The stage whose features are computed.
    features_of: Option<&'a str>,
    advanced: AtomicBool,
    filled: AtomicBool,
}

impl<'a> Advance<'a> {
    fn new(interrupt: &'a Interrupt, task: &'a SubmittedTask) -> Self {
        let features_of = task.stages.first().filter(|_| task.features).map(String::as_str);
        Self { interrupt, features_of, advanced: AtomicBool::default(), filled: AtomicBool::default() }
    }
}

impl Observer for Advance<'_> {
    fn event(&self, event: &Event) {
        let advanced = match event {
            Event::CheckpointWritten { .. } | Event::Features { .. } => true,
            Event::StageFinished { outcome, .. } => *outcome != StageOutcome::Cached,
            _ => false,
        };
        if advanced {
            self.advanced.store(true, Ordering::Relaxed);
        }
        // The first epoch has read the features of the training and of the validation images. The run itself continues
        // from the checkpoint.
        if let Event::EpochFinished { stage, .. } = event
            && self.features_of == Some(stage)
        {
            self.filled.store(true, Ordering::Relaxed);
            self.interrupt.request();
        }
    }
}
