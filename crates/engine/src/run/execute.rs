//! Executes a plan in its run directory, from the first event to the manifest.

use std::path::Path;

use super::already_complete;
use super::directory::{DATA, RunDirectory, RunState};
use super::event_log::EventLog;
use super::record::RunRecord;
use super::report;
use super::request::{PipelineTexts, RunOptions, RunResult};
use super::runner::{Runner, since};
use super::sample_images;
use super::selection::StageSelection;
use super::tensorboard::TensorBoard;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Fanout, Interrupt, Observer};
use crate::plan::{self, Plan};
use crate::report::{ReportData, report_html};
use crate::store::Store;

/// Executes a plan in its run directory below `runs`. If a stage fails or is interrupted, the summary has the
/// error and the status of each stage.
///
/// # Errors
/// The run cannot start: a requested stage does not exist or is not cached, or the run directory is not
/// writable.
pub fn execute(
    plan: &Plan,
    texts: &PipelineTexts,
    store: &Store,
    runs: &Path,
    options: &RunOptions,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<RunResult> {
    let selection = StageSelection::new(plan, options.from, options.until, options.force)?;
    let look = || {
        let statuses = plan::statuses(plan, store, options.wanted, options.variant, options.earlier)?;
        selection.require_cached_above(plan, &statuses)?;
        Ok::<_, Error>(statuses)
    };
    if options.from.is_some() {
        // An invalid request creates no run directory.
        selection.require_cached_above(plan, options.statuses)?;
    }
    let directory = RunDirectory::locate(runs, &plan.name, &plan.recipe)?;
    let begin = || {
        let recorder = EventLog::open(&directory, options.clock, interrupt, &mut || {
            observer.event(&Event::Warning {
                stage: None,
                message: "waiting for another process that is working on this run".into(),
            });
        })?;
        // Only now, because the previous holder may have finished stages. `gc` waits until the run names what it
        // found.
        let _hold = store.block_gc()?;
        let statuses = look()?;
        let mut record = RunRecord::of(plan, options.variant, &statuses);
        if let Ok(before) = directory.record() {
            record.keep_previous_keys(&before);
        }
        directory.begin(&record, texts.pipeline.as_bytes(), texts.resolved)?;
        let data = serde_json::to_string_pretty(&plan.data()).expect("numbers are plain data") + "\n";
        directory.write(DATA, data.as_bytes())?;
        Ok::<_, Error>((recorder, statuses, record))
    };
    let (recorder, statuses, mut record) = match begin() {
        Err(error) if error.kind == ErrorKind::Failed => {
            let statuses = look().unwrap_or_default();
            let summary = already_complete::already_complete(
                plan, &selection, &statuses, &directory, store, observer, &error,
            );
            return summary.ok_or_else(|| match error.hint {
                Some(_) => error,
                None => error.hint("use a writable folder of runs with `--runs-dir`"),
            });
        }
        begun => begun?,
    };
    let tensorboard = options.tensorboard.then(|| TensorBoard::new(directory.path(), options.clock));
    let mut observers = Fanout(vec![observer, &recorder]);
    if let Some(tensorboard) = &tensorboard {
        observers.0.push(tensorboard);
    }
    let begun = (options.clock)();
    observers.event(&report::started(plan, &directory));

    let mut runner = Runner {
        plan,
        store,
        directory: &directory,
        options,
        observer: &observers,
        interrupt,
        alone: recorder.alone(),
        finished: Vec::new(),
        summaries: Vec::new(),
    };
    let outcome = runner.run(&selection, &statuses, &mut record).and_then(|()| {
        let complete = runner.finished.iter().all(Option::is_some);
        if complete {
            sample_images::write(plan, &directory, store, interrupt)?;
            // All stages are in place; only the state is written.
            let data = ReportData {
                state: RunState::Complete.as_str().to_owned(),
                ..report::report_data(&directory)?
            };
            directory.write("report.html", report_html(&data).as_bytes())?;
            directory.seal(store)?;
        }
        Ok(complete)
    });
    let state = match &outcome {
        Ok(true) => RunState::Complete,
        Ok(false) => RunState::Interrupted,
        Err(error) if error.kind == ErrorKind::Interrupted => RunState::Interrupted,
        Err(_) => RunState::Failed,
    };
    let stages = runner.summaries;
    // The first error counts: on a full disk, writing the state fails too.
    let (outcome, state) = match directory.set_state(state) {
        Err(error) if outcome.is_ok() => (Err(error), RunState::Failed),
        _ => (outcome, state),
    };
    let ended = match &outcome {
        // Stages that `--until` leaves out do not make the run interrupted.
        Ok(false) => format!("stopped by `--until {}`", options.until.unwrap_or_default()),
        _ => state.as_str().to_owned(),
    };
    let error = outcome.err();
    observers.event(&Event::RunFinished {
        state: ended,
        seconds: since(options.clock, begun),
        error: error.as_ref().map(Error::to_string),
        hint: error.as_ref().and_then(|error| error.hint.clone()),
    });
    if let Some(Err(unrecorded)) = tensorboard.map(TensorBoard::finish) {
        let message = format!("the files for TensorBoard are incomplete: {unrecorded}");
        observer.event(&Event::Warning { stage: None, message });
    }
    if let Err(unrecorded) = recorder.finish() {
        let message = format!("the event log is incomplete: {unrecorded}");
        observer.event(&Event::Warning { stage: None, message });
    }
    Ok(RunResult { run_dir: directory.path().to_owned(), state, stages, error })
}
