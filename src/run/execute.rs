//! A plan carried out: what is finished is taken from the store, the rest is computed, resumed where it stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::broken;
use super::directory::{RunDirectory, State};
use super::record::RunRecord;
use super::recorder::Recorder;
use super::request::{Clock, Options, StageSummary, Summary, Texts};
use super::selection::Selection;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::events::{Event, Fanout, Interrupt, Observer, Outcome};
use crate::features::FeatureStore;
use crate::plan::{self, Parent, Plan, Planned, StageStatus};
use crate::report::{self, ReportData};
use crate::stage::{Checkpoints, Context};
use crate::store::{self, Attempt, Begun, Finished, Store};

/// Runs a plan in its run directory below `runs`.
///
/// # Errors
/// What a stage fails with, within the stage's name; [`Kind::Interrupted`] after a checkpoint when asked to stop.
pub fn execute(
    plan: &Plan,
    texts: &Texts,
    store: &Store,
    runs: &Path,
    options: &Options,
    observer: &dyn Observer,
    interrupt: &Interrupt,
) -> Result<Summary> {
    let selection = Selection::new(plan, options.from, options.until, options.force)?;
    let look = || {
        let earlier = super::earlier_stages(runs, &plan.name, plan.label.as_deref());
        let statuses = plan::statuses(plan, store, options.wanted, options.variant, &earlier)?;
        selection.demand_above(plan, &statuses)?;
        Ok::<_, Error>(statuses)
    };
    if options.from.is_some() {
        // What is asked for in vain leaves no run directory.
        look()?;
    }
    let directory = RunDirectory::locate(runs, &plan.name, &plan.recipe)?;
    let recorder = Recorder::open(&directory, options.clock, interrupt, &mut || {
        observer.event(&Event::Warning {
            stage: None,
            message: "waiting for another process at this run".into(),
        });
    })?;
    // Only now: whoever was at it before has finished what it finished. `gc` waits until the run names what it found.
    let hold = store.hold()?;
    let statuses = look()?;
    let mut record = RunRecord::of(plan, options.variant, &statuses);
    if let Ok(before) = directory.record() {
        record.keep_keys(&before);
    }
    directory.begin(&record, texts.pipeline.as_bytes(), texts.resolved)?;
    drop(hold);
    let observers = Fanout(vec![observer, &recorder]);
    let started = (options.clock)();
    observers.event(&Event::RunStarted {
        name: plan.name.clone(),
        run_dir: directory.path().display().to_string(),
        stages: plan.stages.iter().map(|stage| stage.name.clone()).collect(),
    });

    let mut runner = Runner {
        plan,
        store,
        directory: &directory,
        options,
        observer: &observers,
        interrupt,
        finished: Vec::new(),
    };
    let outcome = runner.run(&selection, &statuses, &mut record).and_then(|stages| {
        let complete = runner.finished.iter().all(Option::is_some);
        if complete {
            // All stages are there: what is left is to say so.
            let data = ReportData {
                state: State::Complete.as_str().to_owned(),
                ..ReportData::read(directory.path())?
            };
            let report = report::report_html(&data);
            directory.write("report.html", report.as_bytes())?;
            directory.seal(store)?;
        }
        Ok((complete, stages))
    });
    let state = match &outcome {
        Ok((true, _)) => State::Complete,
        Ok((false, _)) => State::Interrupted,
        Err(error) if error.kind == Kind::Interrupted => State::Interrupted,
        Err(_) => State::Failed,
    };
    directory.set_state(state)?;
    let ended = match &outcome {
        // What was left out with `--until` is not an interruption to whoever asked for it.
        Ok((false, _)) => "stopped as asked".to_owned(),
        _ => state.as_str().to_owned(),
    };
    let error = outcome.as_ref().err();
    observers.event(&Event::RunFinished {
        state: ended,
        seconds: since(options.clock, started),
        error: error.map(Error::to_string),
        hint: error.and_then(|error| error.hint.clone()),
    });
    recorder.finish()?;
    let (_, stages) = outcome?;
    Ok(Summary { run_dir: directory.path().to_owned(), stages })
}

fn since(clock: Clock, start: SystemTime) -> f64 {
    clock().duration_since(start).unwrap_or_default().as_secs_f64()
}

struct Runner<'a> {
    plan: &'a Plan,
    store: &'a Store,
    directory: &'a RunDirectory,
    options: &'a Options<'a>,
    observer: &'a dyn Observer,
    interrupt: &'a Interrupt,
    /// By stage; none for one that was not asked for and is not there.
    finished: Vec<Option<Finished>>,
}

impl Runner<'_> {
    fn run(
        &mut self,
        selection: &Selection,
        statuses: &[StageStatus],
        record: &mut RunRecord,
    ) -> Result<Vec<StageSummary>> {
        let mut summaries = Vec::new();
        for (index, stage) in self.plan.stages.iter().enumerate() {
            if !selection.runs[index] {
                // What is there all the same stays part of the run: a complete one is complete after a part of it.
                let finished = self.there(stage, &statuses[index])?;
                if let Some(finished) = &finished {
                    self.directory.materialize(self.store, &stage.name, finished)?;
                }
                self.finished.push(finished);
                continue;
            }
            self.interrupt.check()?;
            let key = self.key(stage)?;
            // What the run directory names, `gc` leaves alone.
            record.stages[index].key = Some(key);
            self.directory.write_record(record)?;
            let begun = (self.options.clock)();
            let (finished, status) = self
                .stage(stage, &key, selection.forced[index], statuses[index].why_then())
                .map_err(|error| error.within(format!("stage `{}`", stage.name)))?;
            self.directory.materialize(self.store, &stage.name, &finished)?;
            let metrics = read_metrics(&finished);
            if let Some(left_out) = broken::left_out(stage, &metrics, self.directory) {
                self.warn(stage, &left_out);
            }
            let seconds = since(self.options.clock, begun);
            self.observer.event(&Event::StageFinished {
                stage: stage.name.clone(),
                outcome: status,
                seconds,
                metrics: numbers(&metrics),
            });
            if status != Outcome::Cached {
                let expected = self.options.expected.get(&stage.name);
                self.observer.event(&Event::StageCost {
                    stage: stage.name.clone(),
                    seconds,
                    expected_seconds: expected.map(|expected| expected.seconds),
                    memory_bytes: (self.options.peak_bytes)(),
                    expected_memory_bytes: expected.map(|expected| expected.memory_bytes),
                });
            }
            summaries.push(StageSummary {
                name: stage.name.clone(),
                kind: stage.work.kind(),
                status,
                seconds,
                metrics,
            });
            self.finished.push(Some(finished));
        }
        Ok(summaries)
    }

    /// The result of a stage that was not asked for, if the store has it for what is above as it is now.
    fn there(&self, stage: &Planned, status: &StageStatus) -> Result<Option<Finished>> {
        if stage.parents.iter().any(|parent| self.finished[parent.stage].is_none()) {
            return Ok(None);
        }
        let same = status.key == Some(self.key(stage)?);
        Ok(status.finished.clone().filter(|_| same))
    }

    fn key(&self, stage: &Planned) -> Result<Digest> {
        let consumed = |parent: &Parent| {
            let finished = self.finished[parent.stage].as_ref();
            finished.and_then(|finished| finished.files.get(parent.file()).copied()).ok_or_else(|| {
                let above = &self.plan.stages[parent.stage].name;
                Error::bug(format!("`{above}` left no `{}` for `{}`", parent.file(), stage.name))
            })
        };
        let consumed = stage.parents.iter().map(consumed).collect::<Result<Vec<_>>>()?;
        Ok(plan::key(&stage.document, &consumed))
    }

    fn stage(
        &self,
        stage: &Planned,
        key: &Digest,
        forced: bool,
        why: Option<String>,
    ) -> Result<(Finished, Outcome)> {
        let start = |outcome, reason: Option<String>| {
            self.observer.event(&Event::StageStarted {
                stage: stage.name.clone(),
                kind: stage.work.kind().to_owned(),
                outcome,
                reason,
            });
        };
        if !forced && let Some(finished) = self.found(key)? {
            let elsewhere = (finished.variant != self.options.variant)
                .then(|| format!("computed on {}", finished.variant));
            start(Outcome::Cached, elsewhere);
            return Ok((finished, Outcome::Cached));
        }
        let above = stage.parents.iter().map(|parent| &self.plan.stages[parent.stage]);
        let uses: Vec<Digest> = above.filter_map(|above| self.key(above).ok()).collect();
        let work = store::Work { key, variant: self.options.variant, uses: &uses, forced };
        let mut waiting = || self.warn(stage, "waiting for another process that computes this stage");
        match self.store.begin(work, self.interrupt, &mut waiting)? {
            Begun::Published(finished) => {
                start(Outcome::Cached, None);
                Ok((finished, Outcome::Cached))
            }
            Begun::Working(mut attempt) => {
                let latest = attempt.newest_checkpoint()?.map(|checkpoint| checkpoint.dir);
                for note in attempt.notes() {
                    self.warn(stage, note);
                }
                let outcome = if latest.is_some() { Outcome::Resumed } else { Outcome::Ran };
                start(outcome, why);
                self.compute(stage, key, &attempt, latest, forced)?;
                Ok((attempt.finish(self.store)?, outcome))
            }
        }
    }

    /// A finished stage that the run directory names. `gc` may just be removing what it saw before that.
    fn found(&self, key: &Digest) -> Result<Option<Finished>> {
        let _hold = self.store.hold()?;
        Ok(self.store.lookup(key, self.options.wanted)?.found())
    }

    fn compute(
        &self,
        stage: &Planned,
        key: &Digest,
        attempt: &Attempt,
        latest: Option<PathBuf>,
        forced: bool,
    ) -> Result<()> {
        let output = attempt.output()?;
        let live = self.directory.clear_stage(&stage.name)?;
        let source = |parent: &Parent| Some(self.finished[parent.stage].as_ref()?.dir.join(parent.file()));
        let sources: Vec<PathBuf> = stage.parents.iter().filter_map(source).collect();
        let features = self.options.feature_bytes.map(|limit| {
            let store =
                FeatureStore::new(self.store.features(), self.store.inputs(), self.options.variant, limit);
            // Whoever wants everything computed again wants the features too.
            if forced { store.elsewhere(attempt.scratch()) } else { store.used_by(key) }
        });
        let zero = (self.options.clock)();
        let context = Context {
            device: self.options.device,
            stage: &stage.name,
            sources: &sources,
            output: &output,
            live: Some(&live),
            checkpoints: &Kept { attempt, latest },
            features: features.as_ref(),
            observer: self.observer,
            interrupt: self.interrupt,
            clock: &|| since(self.options.clock, zero),
            workers: self.options.workers,
            image_cache: self.options.image_cache,
            checkpoint_seconds: self.options.checkpoint_seconds,
        };
        stage.work.execute(&context)
    }

    fn warn(&self, stage: &Planned, message: &str) {
        self.observer.event(&Event::Warning { stage: Some(stage.name.clone()), message: message.to_owned() });
    }
}

/// The checkpoints of an attempt, as a stage sees them.
struct Kept<'a> {
    attempt: &'a Attempt,
    latest: Option<PathBuf>,
}

impl Checkpoints for Kept<'_> {
    fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(self.latest.clone())
    }

    fn save(&self, fill: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        self.attempt.write_checkpoint(fill).map(drop)
    }
}

fn read_metrics(finished: &Finished) -> Value {
    let text = std::fs::read_to_string(finished.dir.join("metrics.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_else(|_| Value::Object(Default::default()))
}

/// The numbers of a document, by dotted path.
fn numbers(metrics: &Value) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (name, value) in metrics.as_object().into_iter().flatten() {
        if let Some(number) = value.as_f64() {
            all.insert(name.clone(), number);
        }
        all.extend(numbers(value).into_iter().map(|(below, number)| (format!("{name}.{below}"), number)));
    }
    all
}
