//! Event files: `events.jsonl` for programs, `log.txt` for people. Only these files contain clock times.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::RunDirectory;
use super::directory::{EVENTS, LOG};
use crate::error::{Error, Result};
use crate::events::{Event, Interrupt, Observer};
use crate::sanitize;
use crate::store::lock::{self, LockResult};

/// The source of time; the library reads no clock itself.
type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// Steps come many times a second. One per interval is recorded, so that `status` can show the progress of an
/// epoch.
const STEP_INTERVAL: Duration = Duration::from_secs(5);

/// Appends events to a run's `events.jsonl` and `log.txt`. While it exists, the run is live.
pub struct EventLog {
    clock: Clock,
    /// Whether no other process can work in the run directory.
    is_exclusive: bool,
    files: Mutex<LogFiles>,
}

struct LogFiles {
    events: File,
    log: File,
    last_step: Option<SystemTime>,
    failure: Option<Error>,
}

impl EventLog {
    /// Locks a run directory for this process, and creates it if needed. If another process works there, it
    /// calls `waiting` once and waits.
    ///
    /// # Errors
    /// Interrupted while waiting, or the files are not writable.
    pub fn open(
        run: &RunDirectory,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
        interrupt: &Interrupt,
        waiting: &mut dyn FnMut(),
    ) -> Result<Self> {
        let path = run.path().join(EVENTS);
        let mut waited = false;
        let (events, asked) = loop {
            // Reopened each time: the run and this file may be deleted while another process holds it.
            let events = lock::open(&path)?;
            let asked = lock::try_exclusive(&events)?;
            if asked.may_proceed() {
                break (events, asked);
            }
            interrupt.check()?;
            if !std::mem::replace(&mut waited, true) {
                waiting();
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        // A killed process may have left an incomplete line, which must not damage the next.
        if !fs::read(&path).is_ok_and(|text| text.is_empty() || text.ends_with(b"\n")) {
            writeln!(&events).map_err(|error| Error::io("write", &path, error))?;
        }
        let path = run.path().join(LOG);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|error| Error::io("open", &path, error))?;
        Ok(Self {
            clock: Box::new(clock),
            is_exclusive: asked == LockResult::Granted,
            files: Mutex::new(LogFiles { events, log, last_step: None, failure: None }),
        })
    }

    /// Whether no other process can work in the run directory; false if the file system has no locks.
    pub fn alone(&self) -> bool {
        self.is_exclusive
    }

    /// The first write failure, if there was one: a full disk must be reported.
    pub fn finish(self) -> Result<()> {
        self.files().failure.take().map_or(Ok(()), Err)
    }

    fn files(&self) -> MutexGuard<'_, LogFiles> {
        self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Observer for EventLog {
    fn event(&self, event: &Event) {
        let now = (self.clock)();
        let mut files = self.files();
        if let Event::Step { .. } | Event::Features { .. } = event {
            let recent = |last: SystemTime| now.duration_since(last).is_ok_and(|since| since < STEP_INTERVAL);
            if files.last_step.is_some_and(recent) {
                return;
            }
            files.last_step = Some(now);
        }
        let time = timestamp(now);
        let mut record = serde_json::to_value(event).expect("events are plain data");
        if let Value::Object(fields) = &mut record {
            fields.insert("time".into(), Value::String(time.clone()));
        }
        let written = writeln!(files.events, "{record}");
        let logged = match sentence(event) {
            Some(sentence) => writeln!(files.log, "{time} {}", sanitize::lines(&sentence)),
            None => Ok(()),
        };
        if let Err(error) = written.and(logged) {
            files.failure.get_or_insert_with(|| Error::io("write", Path::new(EVENTS), error));
        }
    }
}

/// The time of the first event of a run.
pub(super) fn first_event(run: &RunDirectory) -> Option<String> {
    let text = fs::read_to_string(run.path().join(EVENTS)).ok()?;
    text.lines().find_map(parsed).map(|(time, _)| time)
}

/// As [`read_events`], but only those of some kinds. Other lines are not parsed, which takes most of the time.
pub(super) fn events_of(run: &RunDirectory, kinds: &[&str]) -> Vec<(String, Event)> {
    let marks: Vec<String> = kinds.iter().map(|kind| format!("\"event\":\"{kind}\"")).collect();
    let text = fs::read_to_string(run.path().join(EVENTS)).unwrap_or_default();
    let lines = text.lines().filter(|line| marks.iter().any(|mark| line.contains(mark.as_str())));
    lines.filter_map(parsed).collect()
}

/// The recorded events of a run, with times. Incomplete lines and lines of other versions are skipped.
pub fn read_events(run: &RunDirectory) -> Vec<(String, Event)> {
    let text = fs::read_to_string(run.path().join(EVENTS)).unwrap_or_default();
    text.lines().filter_map(parsed).collect()
}

fn parsed(line: &str) -> Option<(String, Event)> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    let time = value.as_object_mut()?.remove("time")?.as_str()?.to_owned();
    Some((time, serde_json::from_value(value).ok()?))
}

fn timestamp(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The line in `log.txt`; `None` for steps.
fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted { name, run_dir, stages, .. } => {
            format!("run {name} started in {run_dir}: {}", stages.join(", "))
        }
        Event::StageStarted { stage, kind, outcome, reason } => {
            let reason = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
            format!("stage {stage}: {kind}, {}{reason}", outcome.as_str())
        }
        Event::Trainable { stage, summary, .. } => format!("stage {stage}: {summary}"),
        Event::WeightsNamed { stage, names } => format!("stage {stage}: the weights have {names}"),
        Event::WeightsAdapted { stage, what } => format!("stage {stage}: {what}"),
        Event::Step { .. } | Event::Features { .. } => return None,
        Event::FeaturesFound { stage, images, stored } => {
            format!("stage {stage}: features of {images} images: {stored} from the store")
        }
        Event::FeaturesRecomputed { stage, reason } => {
            format!("stage {stage}: features are not kept: {reason}")
        }
        Event::EpochFinished { stage, epoch, epochs, row, best } => {
            let mut line = format!("stage {stage}: epoch {epoch}/{epochs}");
            for (name, value) in row {
                let _ = write!(line, " {name} {value}");
            }
            if *best { line + " (best so far)" } else { line }
        }
        Event::InferenceTime { stage, batch, seconds_per_image } => {
            let milliseconds = seconds_per_image * 1e3;
            format!("stage {stage}: the network takes {milliseconds:.2} ms an image, {batch} at a time")
        }
        Event::CheckpointWritten { stage, epoch, step } => {
            format!("stage {stage}: checkpoint at epoch {epoch}, step {step}")
        }
        Event::StageDeclined { stage, message, causes, .. } => {
            let causes = causes.iter().map(|cause| format!("; {cause}")).collect::<String>();
            format!("warning: stage {stage}: {message}{causes}")
        }
        Event::Warning { stage, message } => match stage {
            Some(stage) => format!("warning: stage {stage}: {message}"),
            None => format!("warning: {message}"),
        },
        Event::StageFinished { stage, outcome, seconds, metrics } => {
            let mut line = format!("stage {stage}: {} in {seconds:.1} s", outcome.as_str());
            for (name, value) in metrics {
                let _ = write!(line, " {name} {value}");
            }
            line
        }
        Event::StageStopped { stage, how, seconds } => {
            format!("stage {stage}: {} after {seconds:.1} s", how.as_str())
        }
        Event::StageCost { stage, seconds, expected_seconds, memory_bytes, expected_memory_bytes } => {
            let mib = |bytes: &Option<u64>| bytes.map_or("?".to_owned(), |bytes| (bytes >> 20).to_string());
            let expected = expected_seconds.map_or("?".to_owned(), |seconds| format!("{seconds:.1}"));
            format!(
                "stage {stage}: took {seconds:.1} s, expected {expected} s; memory so far {} MiB, expected {} MiB",
                mib(memory_bytes),
                mib(expected_memory_bytes),
            )
        }
        Event::RunFinished { state, seconds, error, hint } => {
            let error = error.as_ref().map_or(String::new(), |error| format!(": {error}"));
            let hint = hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
            format!("run {state} after {seconds:.1} s{error}{hint}")
        }
    })
}
