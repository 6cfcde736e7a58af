//! Executes the runs of a file in several processes of this machine.
//!
//! Each process gets a part of the threads. The end of its standard input asks a process to stop, so that none remains if
//! this one is killed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use defrost::run::{Interrupt, Submission};
use defrost::store::disk;
use defrost::{Error, Result};
use serde_json::{Value, json};

use super::super::console::{shown, tell};
use super::super::estimates::Estimates;
use super::super::run::EndedRun;
use super::super::session::Session;
use super::super::{PipelineOptions, preparation};

/// Interval between two looks at the processes.
const INTERVAL: Duration = Duration::from_millis(50);
/// The exit code of a process that stopped on request.
const INTERRUPTED: i32 = 130;

/// Executes all runs, at most `jobs` at a time. If one fails, the others still run.
pub fn run_all(
    sessions: &[Session],
    file: &Path,
    options: &PipelineOptions,
    jobs: usize,
    interrupt: &Interrupt,
) -> Result<Vec<EndedRun>> {
    let sessions: Vec<&Session> = sessions.iter().collect();
    run_shown(&sessions, file, options, jobs, interrupt, true, &mut |_| Ok(()))
}

/// As [`run_all`], without the output of the processes. `ended` is called with the index of each run that has ended.
pub fn run_quietly(
    sessions: &[&Session],
    file: &Path,
    options: &PipelineOptions,
    jobs: usize,
    interrupt: &Interrupt,
    ended: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<EndedRun>> {
    run_shown(sessions, file, options, jobs, interrupt, false, ended)
}

fn run_shown(
    sessions: &[&Session],
    file: &Path,
    options: &PipelineOptions,
    jobs: usize,
    interrupt: &Interrupt,
    speaks: bool,
    on_end: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<EndedRun>> {
    let all: Vec<usize> = (0..sessions.len()).collect();
    let estimates = Estimates::open(sessions[0]);
    let stages =
        sessions.iter().map(|session| Ok(preparation::missing(session, &session.statuses()?, &estimates)));
    let arrays = preparation::arrays(&stages.collect::<Result<Vec<_>>>()?, &all, usize::MAX);
    let runs = sessions.iter().map(|session| preparation::submitted_run(session)).collect::<Result<_>>()?;
    let record = preparation::record(file, options, &sessions[0].runs, None, runs, arrays)?;
    let (submission, _lock) = Submission::create_local(&preparation::new_id()?, record)?;
    let ended = execute(&submission, jobs, interrupt, speaks, on_end);
    // The folder is of no use without this process.
    let removed = disk::remove(&submission.dir);
    let ended = ended?;
    removed?;
    Ok(ended)
}

fn execute(
    submission: &Submission,
    jobs: usize,
    interrupt: &Interrupt,
    speaks: bool,
    on_end: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<EndedRun>> {
    let mut ended: Vec<EndedRun> =
        submission.record.runs.iter().map(|_| (json!({}), Some(Error::interrupted("interrupted")))).collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for (array, tasks) in submission.record.arrays.iter().enumerate() {
        let threads = (processors / jobs.min(tasks.tasks.len().max(1))).max(1);
        let mut waiting: VecDeque<usize> = (0..tasks.tasks.len()).collect();
        let mut running: Vec<Process> = Vec::new();
        while !running.is_empty() || (!waiting.is_empty() && !interrupt.requested()) {
            while running.len() < jobs
                && !interrupt.requested()
                && let Some(index) = waiting.pop_front()
            {
                running.push(Process::start(submission, array, index, threads, speaks)?);
            }
            if interrupt.requested() {
                running.iter_mut().for_each(|process| process.input = None);
            }
            let mut still = Vec::new();
            for mut process in running {
                match process.child.try_wait().map_err(failed)? {
                    None => still.push(process),
                    Some(status) => {
                        let task = &tasks.tasks[process.index];
                        let end = process.end(status);
                        if task.is_run() {
                            ended[task.run] = end;
                            on_end(task.run)?;
                        }
                    }
                }
            }
            running = still;
            std::thread::sleep(INTERVAL);
        }
    }
    Ok(ended)
}

struct Process {
    index: usize,
    child: Child,
    /// Dropped to ask it to stop.
    input: Option<ChildStdin>,
    lines: JoinHandle<Option<String>>,
    document: JoinHandle<Vec<u8>>,
}

impl Process {
    fn start(
        submission: &Submission,
        array: usize,
        index: usize,
        threads: usize,
        speaks: bool,
    ) -> Result<Self> {
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["--json", "task"]).arg(&submission.dir);
        command.args([&array.to_string(), "--index", &index.to_string(), "--local"]);
        command.args(["--threads", &threads.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let task = submission.task(array, index)?;
        let label = submission.record.runs[task.run].frozen.label.clone().unwrap_or_default();
        let prefix = shown(if task.is_run() { label } else { task.stages.join(", ") });
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let document = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // A process that breaks off has no document.
            output.map(|mut output| output.read_to_end(&mut bytes));
            bytes
        });
        let lines = std::thread::spawn(move || {
            let mut last_error = None;
            for line in BufReader::new(errors?).lines() {
                let Ok(line) = line else { break };
                if let Some(message) = line.strip_prefix("error: ") {
                    last_error = Some(message.to_owned());
                }
                if speaks && !line.is_empty() {
                    tell(format_args!("\x1b[1m[{prefix}]\x1b[0m {line}"));
                }
            }
            last_error
        });
        Ok(Self { index, child, input, lines, document })
    }

    fn end(self, status: ExitStatus) -> EndedRun {
        let document = self.document.join().unwrap_or_default();
        let message = self.lines.join().unwrap_or_default();
        let document: Value = serde_json::from_slice(&document).unwrap_or_else(|_| json!({}));
        let error = match status.code() {
            Some(0) => None,
            Some(INTERRUPTED) => Some(
                Error::interrupted(message.unwrap_or_else(|| "interrupted".to_owned()))
                    .hint("run the same command again to continue"),
            ),
            _ => Some(Error::failed(message.unwrap_or_else(|| format!("the process ended: {status}")))),
        };
        (document, error)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::failed(format!("cannot start a process for a run: {error}"))
}
