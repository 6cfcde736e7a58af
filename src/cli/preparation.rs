//! Prepares submissions: the frozen runs of a file, and the tasks in the order of what they share.

use std::path::{Path, PathBuf};

use defrost::estimate::Estimate;
use defrost::pipeline::FrozenRun;
use defrost::plan::{StageStatus, Status};
use defrost::run::{
    self, RunDirectory, RunStages, SharedTask, Submission, SubmissionRecord, SubmittedArray, SubmittedRun,
    SubmittedTask, shared_first,
};
use defrost::{Error, Result};

use super::estimates::Estimates;
use super::session::Session;
use super::{PipelineOptions, RunsOptions};

/// A shared stage that takes less is computed by the runs themselves, rather than in a job before them.
const WORTH_A_TASK_SECONDS: f64 = 60.0;

/// The tasks of some runs: first the stages that two or more of them share and miss, then the runs. `stages` has the missing
/// stages of each of them. An array has at most `most` tasks.
pub fn arrays(stages: &[RunStages], chosen: &[usize], most: usize) -> Vec<SubmittedArray> {
    let shared = |task: SharedTask| SubmittedTask {
        run: chosen[task.run],
        stages: task.stages,
        features: task.features,
        serves: task.serves.into_iter().map(|run| chosen[run]).collect(),
    };
    let whole =
        |run: &usize| SubmittedTask { run: *run, stages: Vec::new(), features: false, serves: Vec::new() };
    let waves = shared_first(stages).into_iter().map(|wave| wave.into_iter().map(shared).collect());
    let waves = waves.chain([chosen.iter().map(whole).collect::<Vec<_>>()]);
    let (mut arrays, mut before): (Vec<SubmittedArray>, Vec<usize>) = Default::default();
    for wave in waves {
        let first = arrays.len();
        let parts = wave.chunks(most);
        arrays.extend(parts.map(|tasks| SubmittedArray {
            job: None,
            after: before.clone(),
            tasks: tasks.to_vec(),
        }));
        before = (first..arrays.len()).collect();
    }
    arrays
}

/// The stages of a run that are missing, and long enough to be worth a task. Nothing is measured: the machine that computes
/// is another one. A stage of unknown length counts as long.
pub fn missing(session: &Session, statuses: &[StageStatus], estimates: &Estimates) -> RunStages {
    let is_short = |estimate: Estimate| estimate.seconds < WORTH_A_TASK_SECONDS;
    let wanted = session.plan.stages.iter().zip(statuses).map(|(stage, status)| {
        status.status != Status::Hit
            && matches!(stage.work.kind(), "train" | "evaluate")
            && !estimates.forecast(&estimates.workload(stage, &[])).is_some_and(is_short)
    });
    RunStages::new(&session.plan, &wanted.collect::<Vec<bool>>())
}

/// A run in its state now.
pub fn submitted_run(session: &Session) -> Result<SubmittedRun> {
    frozen_run(session, FrozenRun::of(&session.pipeline))
}

pub fn frozen_run(session: &Session, frozen: FrozenRun) -> Result<SubmittedRun> {
    let plan = &session.plan;
    let directory = RunDirectory::locate(&session.runs, &plan.name, &plan.recipe)?;
    let run_dir = directory.path().to_owned();
    Ok(SubmittedRun { name: plan.name.clone(), recipe: plan.recipe, run_dir, frozen })
}

pub fn record(
    file: &Path,
    options: &PipelineOptions,
    runs_dir: &Path,
    cluster: Option<String>,
    runs: Vec<SubmittedRun>,
    arrays: Vec<SubmittedArray>,
) -> Result<SubmissionRecord> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| Error::io("find", path, error));
    Ok(SubmissionRecord {
        format: SubmissionRecord::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: jiff::Timestamp::now().to_string(),
        file: full_path(file)?,
        folder: current_folder()?,
        runs_dir: absolute(runs_dir)?,
        names_runs_dir: options.runs_dir.is_some(),
        cluster,
        runs,
        arrays,
    })
}

/// The submissions of a file to a cluster, newest first.
pub fn submitted(file: &Path, runs: &RunsOptions) -> Result<Vec<Submission>> {
    let full = full_path(file)?;
    let mut all = run::submissions(&runs.root_of(&file.to_string_lossy())?)?;
    all.retain(|submission| submission.record.file == full);
    Ok(all)
}

/// The path by which a submission remembers its file.
pub fn full_path(file: &Path) -> Result<PathBuf> {
    file.canonicalize().map_err(|error| Error::io("find", file, error))
}

fn current_folder() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| Error::failed(format!("cannot find the current folder: {error}")))
}

/// A new id, sorted by time: `20261130-103011-3fa9`.
pub fn new_id() -> Result<String> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::failed(format!("the system has no random numbers: {error}")))?;
    let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    Ok(format!("{time}-{:02x}{:02x}", bytes[0], bytes[1]))
}
