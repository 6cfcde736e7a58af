//! Submissions: the runs of a file as they were handed to other processes, of this machine or of a cluster.
//!
//! A submission is a folder with everything that its tasks need. Later changes of the pipeline file do not change it:
//!
//! | file | content |
//! | --- | --- |
//! | `submission.json` | the runs, the arrays of tasks with their job ids, and where it was submitted |
//! | `pipeline.toml` | the text of the file |
//! | `runs/N.toml` | the settings of run N, with everything merged |
//! | `tasks/A-N.json` | how task N of array A ended last |
//! | `logs/`, `array-A.sh` | the output of the jobs, and their scripts |

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RunDirectory, RunState};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pipeline::FrozenRun;
use crate::regular_file;
use crate::store::{disk, lock};

/// The folder of all submissions, below that of the runs.
const SUBMISSIONS: &str = ".submissions";
const RECORD: &str = "submission.json";
/// The beginning of the names of submissions to processes of this machine, which last as long as the process that made them.
const LOCAL: &str = "local-";
const LOCK: &str = "lock";
const PIPELINE: &str = "pipeline.toml";
const RUNS: &str = "runs";
const TASKS: &str = "tasks";
const LOGS: &str = "logs";
/// The version of the record.
const FORMAT: u32 = 1;

/// What was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmissionRecord {
    pub format: u32,
    /// The version of the program.
    pub version: String,
    /// When it was submitted.
    pub time: String,
    /// The full path of the pipeline file.
    pub file: PathBuf,
    /// The folder in which the command was given, in which all tasks work.
    pub folder: PathBuf,
    /// The folder of all runs.
    pub runs_dir: PathBuf,
    /// Whether the user named that folder, instead of the nearest `runs`.
    pub names_runs_dir: bool,
    /// The cluster, if there are several.
    pub cluster: Option<String>,
    pub runs: Vec<SubmittedRun>,
    pub arrays: Vec<SubmittedArray>,
}

/// A run of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmittedRun {
    pub name: String,
    /// The recipe that names the run directory.
    pub recipe: Digest,
    pub run_dir: PathBuf,
    #[serde(flatten)]
    pub frozen: FrozenRun,
}

/// Tasks that are submitted together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubmittedArray {
    /// The id of the job. `None` until the scheduler has accepted it.
    pub job: Option<String>,
    /// The arrays that must end first.
    pub after: Vec<usize>,
    pub tasks: Vec<SubmittedTask>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmittedTask {
    pub run: usize,
    /// The stages to compute; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
    /// Only the features of the frozen layers of the stage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub features: bool,
    /// The runs that need these stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<usize>,
}

impl SubmittedTask {
    /// Whether it is a whole run.
    pub fn is_run(&self) -> bool {
        self.stages.is_empty()
    }
}

/// How a task started or ended last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    pub state: TaskState,
    /// The job and its machine.
    pub job: Option<String>,
    pub host: Option<String>,
    /// How often the job was started again.
    pub restarts: u32,
    /// The error, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Running,
    Complete,
    Failed,
    /// It stopped after a checkpoint, for the scheduler or the user.
    Interrupted,
}

/// A submission in its folder.
#[derive(Clone, Debug)]
pub struct Submission {
    pub dir: PathBuf,
    pub record: SubmissionRecord,
}

impl SubmissionRecord {
    pub const FORMAT: u32 = FORMAT;
}

impl Submission {
    /// The folder of a submission with this id.
    pub fn folder(runs: &Path, id: &str) -> PathBuf {
        runs.join(SUBMISSIONS).join(id)
    }

    /// A new submission to processes of this machine, and the lock that shows that it is in use.
    pub fn create_local(id: &str, record: SubmissionRecord) -> Result<(Self, File)> {
        let dir = Self::folder(&record.runs_dir, &format!("{LOCAL}{id}"));
        let submission = Self::create(&dir, record)?;
        let lock = lock::open(&dir.join(LOCK))?;
        lock::try_exclusive(&lock)?;
        Ok((submission, lock))
    }

    /// Writes a new submission. Its folder must not exist.
    pub fn create(dir: &Path, record: SubmissionRecord) -> Result<Self> {
        let failed = |error| Error::io("make", dir, error);
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::create_dir(dir).map_err(failed)?;
        fs::create_dir(dir.join(LOGS)).map_err(failed)?;
        for (index, run) in record.runs.iter().enumerate() {
            if index == 0 {
                disk::write_atomically(&dir.join(PIPELINE), run.frozen.text.as_bytes())?;
            }
            disk::write_atomically(&frozen_path(dir, index), run.frozen.settings.as_bytes())?;
        }
        let submission = Self { dir: dir.to_owned(), record };
        submission.save()?;
        Ok(submission)
    }

    /// Writes the record again, after a job id has become known.
    pub fn save(&self) -> Result<()> {
        disk::write_json(&self.dir.join(RECORD), &self.record)
    }

    /// # Errors
    /// It is not a submission, or one of another version.
    pub fn open(dir: &Path) -> Result<Self> {
        let record: SubmissionRecord = disk::read_json(&dir.join(RECORD))?;
        if record.format != FORMAT {
            return Err(Error::usage(format!("`{}` is a submission of another version", dir.display()))
                .hint(format!("it was written by defrost {}: submit again", record.version)));
        }
        Ok(Self { dir: dir.to_owned(), record })
    }

    pub fn id(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A run with its settings.
    pub fn frozen(&self, run: usize) -> Result<FrozenRun> {
        let read =
            |path: PathBuf| regular_file::read_text(&path).map_err(|error| Error::io("read", &path, error));
        let run_of = self.record.runs.get(run).ok_or_else(|| self.no_task("run", run))?;
        let (settings, text) = (read(frozen_path(&self.dir, run))?, read(self.dir.join(PIPELINE))?);
        Ok(FrozenRun { settings, text: text.into(), ..run_of.frozen.clone() })
    }

    pub fn task(&self, array: usize, index: usize) -> Result<&SubmittedTask> {
        let array = self.record.arrays.get(array).ok_or_else(|| self.no_task("array", array))?;
        array.tasks.get(index).ok_or_else(|| self.no_task("task", index))
    }

    fn no_task(&self, what: &str, index: usize) -> Error {
        Error::usage(format!("the submission `{}` has no {what} {index}", self.dir.display()))
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.join(LOGS)
    }

    pub fn script(&self, array: usize) -> PathBuf {
        self.dir.join(format!("array-{array}.sh"))
    }

    pub fn write_script(&self, array: usize, text: &str) -> Result<()> {
        disk::write_atomically(&self.script(array), text.as_bytes())
    }

    /// How a task started or ended last; `None` if it never started.
    pub fn report(&self, array: usize, index: usize) -> Option<TaskReport> {
        disk::read_json(&self.report_path(array, index)).ok()
    }

    pub fn write_report(&self, array: usize, index: usize, report: &TaskReport) -> Result<()> {
        disk::write_json(&self.report_path(array, index), report)
    }

    fn report_path(&self, array: usize, index: usize) -> PathBuf {
        self.dir.join(TASKS).join(format!("{array}-{index}.json"))
    }

    /// The tasks of a run, or of stages that it shares: array and index.
    pub fn tasks_of(&self, run: usize) -> impl Iterator<Item = (usize, usize, &SubmittedTask)> {
        self.tasks().filter(
            move |(.., task)| {
                if task.is_run() { task.run == run } else { task.serves.contains(&run) }
            },
        )
    }

    /// Every task: array and index.
    pub fn tasks(&self) -> impl Iterator<Item = (usize, usize, &SubmittedTask)> {
        let arrays = self.record.arrays.iter().enumerate();
        arrays.flat_map(|(array, tasks)| {
            tasks.tasks.iter().enumerate().map(move |(index, task)| (array, index, task))
        })
    }
}

/// Submissions that nothing needs, each with the reason: those of a process of this machine that was killed, and those to a
/// cluster whose runs are complete, except the newest of each file.
pub(super) fn unused(runs: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let folder = runs.join(SUBMISSIONS);
    let mut unused = Vec::new();
    for name in disk::entries(&folder)?.iter().filter(|name| name.starts_with(LOCAL)) {
        if !lock::is_held(&folder.join(name).join(LOCK)) {
            unused.push((folder.join(name), "left by a process that was killed"));
        }
    }
    let mut files = BTreeSet::new();
    for submission in submissions(runs)? {
        let complete = |run: &SubmittedRun| {
            RunDirectory::open(&run.run_dir).is_ok_and(|directory| directory.state() == RunState::Complete)
        };
        let newest = files.insert(submission.record.file.clone());
        if !newest && submission.record.runs.iter().all(complete) {
            unused.push((submission.dir, "a submission whose runs are complete"));
        }
    }
    Ok(unused)
}

/// The submissions to clusters below a folder of runs, newest first. Those that cannot be read are left out.
pub fn submissions(runs: &Path) -> Result<Vec<Submission>> {
    let folder = runs.join(SUBMISSIONS);
    let mut names = disk::entries(&folder)?;
    names.sort();
    let of_clusters = names.iter().rev().filter(|name| !name.starts_with(LOCAL));
    Ok(of_clusters.filter_map(|name| Submission::open(&folder.join(name)).ok()).collect())
}

fn frozen_path(dir: &Path, run: usize) -> PathBuf {
    dir.join(RUNS).join(format!("{run}.toml"))
}
