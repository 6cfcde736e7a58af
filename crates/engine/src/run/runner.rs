//! Runs the stages of a plan: cached ones come from the store, the others are computed or resumed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::decode_failures;
use super::directory::RunDirectory;
use super::orders::{FeaturesOrder, Order, StageOrder};
use super::record::RunRecord;
use super::report::report_data;
use super::request::{Clock, RunOptions, StageEnd, StageResult};
use super::results::{numbers, read_metrics};
use super::selection::StageSelection;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, Interrupt, Observer, StageOutcome, StopReason};
use crate::features::FeatureStore;
use crate::plan::{self, ParentStage, Plan, PlanEntry, StageStatus};
use crate::ranks::Team;
use crate::report::Regression;
use crate::stage::{Checkpoints, ResolvedStage, StageContext};
use crate::store::{self, Attempt, AttemptStart, FinishedStage, Store};

pub(super) fn since(clock: Clock, start: SystemTime) -> f64 {
    clock().duration_since(start).unwrap_or_default().as_secs_f64()
}

/// Runs the stages of a plan in order.
pub(super) struct Runner<'a> {
    pub plan: &'a Plan,
    pub store: &'a Store,
    pub directory: &'a RunDirectory,
    pub options: &'a RunOptions<'a>,
    pub observer: &'a dyn Observer,
    pub interrupt: &'a Interrupt,
    /// Whether no other process can work in the run directory.
    pub alone: bool,
    /// By stage; `None` for a stage that was not requested and is not cached.
    pub finished: Vec<Option<FinishedStage>>,
    /// The outcomes of the requested stages.
    pub summaries: Vec<StageResult>,
}

impl Runner<'_> {
    /// Runs the selected stages. [`Runner::summaries`] has the outcome of each, also after a failure.
    pub fn run(
        &mut self,
        selection: &StageSelection,
        statuses: &[StageStatus],
        record: &mut RunRecord,
    ) -> Result<()> {
        for index in 0..self.plan.stages.len() {
            if let Err(error) = self.interrupt.check() {
                self.record_not_run(index, selection);
                return Err(error);
            }
            let begun = (self.options.clock)();
            if let Err(error) = self.one(index, selection, statuses, record) {
                self.stopped(&self.plan.stages[index], &error, since(self.options.clock, begun));
                self.record_not_run(index + 1, selection);
                return Err(error);
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        index: usize,
        selection: &StageSelection,
        statuses: &[StageStatus],
        record: &mut RunRecord,
    ) -> Result<()> {
        let stage = &self.plan.stages[index];
        if !selection.runs[index] {
            // Stages that were not requested but are cached stay in the run: a complete run stays complete.
            let finished = self.stored_result(stage, &statuses[index])?;
            if let Some(finished) = &finished {
                self.directory.materialize(self.store, &stage.name, finished)?;
            }
            self.finished.push(finished);
            return Ok(());
        }
        let key = self.key(stage)?;
        // `gc` keeps what the run directory names.
        record.stages[index].key = Some(key);
        self.directory.write_record(record)?;
        let begun = (self.options.clock)();
        let within = |error: Error| error.within(format!("stage `{}`", stage.name));
        // Another stage of this run has just recomputed the same.
        let repeated = (0..index).any(|other| selection.runs[other] && record.stages[other].key == Some(key));
        let forced = selection.forced[index] && !repeated;
        let (finished, status) =
            self.stage(stage, &key, forced, statuses[index].reason_after_parents()).map_err(within)?;
        decode_failures::require_classes(stage, &finished).map_err(within)?;
        self.directory.materialize(self.store, &stage.name, &finished).map_err(within)?;
        let metrics = read_metrics(&finished);
        if let Some(left_out) = decode_failures::left_out(stage, &metrics, self.directory) {
            self.warn(stage, &left_out);
        }
        let seconds = since(self.options.clock, begun);
        self.observer.event(&Event::StageFinished {
            stage: stage.name.clone(),
            outcome: status,
            seconds,
            metrics: numbers(&metrics),
        });
        self.report_decline(stage)?;
        if status != StageOutcome::Cached {
            let expected = self.options.expected.get(&stage.name);
            self.observer.event(&Event::StageCost {
                stage: stage.name.clone(),
                seconds,
                expected_seconds: expected.map(|expected| expected.seconds),
                memory_bytes: (self.options.peak_bytes)(),
                expected_memory_bytes: expected.map(|expected| expected.memory_bytes),
            });
        }
        self.summaries.push(StageResult::of(stage, status.into(), seconds, metrics));
        self.finished.push(Some(finished));
        Ok(())
    }

    /// Reports a train stage whose best epoch is worse than its starting weights, also if it was cached.
    fn report_decline(&self, stage: &PlanEntry) -> Result<()> {
        let starts_trained = stage
            .parents
            .iter()
            .any(|parent| matches!(self.plan.stages[parent.stage].work, ResolvedStage::Train(..)));
        if !matches!(stage.work, ResolvedStage::Train(..)) || !starts_trained {
            return Ok(());
        }
        let data = report_data(self.directory)?;
        if let Some(decline) = data.stage(&stage.name).and_then(|own| Regression::of(own, &data.stages)) {
            self.observer.event(&Event::StageDeclined {
                stage: stage.name.clone(),
                message: format!("ends {}", decline.headline()),
                source: decline.source,
                causes: decline.causes,
            });
        }
        Ok(())
    }

    /// Reports a stage that did not finish.
    fn stopped(&mut self, stage: &PlanEntry, error: &Error, seconds: f64) {
        let how =
            if error.kind == ErrorKind::Interrupted { StopReason::Interrupted } else { StopReason::Failed };
        self.observer.event(&Event::StageStopped { stage: stage.name.clone(), how, seconds });
        let summary = StageResult::of(stage, how.into(), seconds, Value::Object(Default::default()));
        self.summaries.push(StageResult { error: Some(error.message.clone()), ..summary });
    }

    /// Records that the requested stages from a position on did not run.
    fn record_not_run(&mut self, first: usize, selection: &StageSelection) {
        for (stage, _) in self.plan.stages.iter().zip(&selection.runs).skip(first).filter(|(_, runs)| **runs)
        {
            let nothing = Value::Object(Default::default());
            self.summaries.push(StageResult::of(stage, StageEnd::NotRun, 0.0, nothing));
        }
    }

    /// The result of a stage that was not requested, if the store has it for the current stages above.
    fn stored_result(&self, stage: &PlanEntry, status: &StageStatus) -> Result<Option<FinishedStage>> {
        if stage.parents.iter().any(|parent| self.finished[parent.stage].is_none()) {
            return Ok(None);
        }
        let same = status.key == Some(self.key(stage)?);
        Ok(status.finished.clone().filter(|_| same))
    }

    fn key(&self, stage: &PlanEntry) -> Result<Digest> {
        Ok(plan::key(&stage.document, &self.consumed(stage)?))
    }

    /// The digests of the checkpoints that a stage reads, in order.
    fn consumed(&self, stage: &PlanEntry) -> Result<Vec<Digest>> {
        let consumed = |parent: &ParentStage| {
            let finished = self.finished[parent.stage].as_ref();
            finished.and_then(|finished| finished.files.get(parent.file()).copied()).ok_or_else(|| {
                let above = &self.plan.stages[parent.stage].name;
                Error::bug(format!("`{above}` left no `{}` for `{}`", parent.file(), stage.name))
            })
        };
        stage.parents.iter().map(consumed).collect()
    }

    fn stage(
        &self,
        stage: &PlanEntry,
        key: &Digest,
        forced: bool,
        why: Option<String>,
    ) -> Result<(FinishedStage, StageOutcome)> {
        let start = |outcome, reason: Option<String>| {
            self.observer.event(&Event::StageStarted {
                stage: stage.name.clone(),
                kind: stage.work.kind().to_owned(),
                outcome,
                reason,
            });
        };
        if !forced && let Some(finished) = self.find(key)? {
            let elsewhere = (finished.variant != self.options.variant)
                .then(|| format!("computed on {}", finished.variant));
            start(StageOutcome::Cached, elsewhere);
            self.store.remove_leftovers(key, &finished.variant);
            return Ok((finished, StageOutcome::Cached));
        }
        let above = stage.parents.iter().map(|parent| &self.plan.stages[parent.stage]);
        let uses: Vec<Digest> = above.filter_map(|above| self.key(above).ok()).collect();
        let series = stage.series(&self.consumed(stage)?);
        let work = store::AttemptRequest { key, variant: self.options.variant, uses: &uses, forced, series };
        let mut waiting = || self.warn(stage, "waiting for another process that is computing this stage");
        match self.store.begin(work, self.interrupt, &mut waiting)? {
            AttemptStart::Published(finished) => {
                start(StageOutcome::Cached, None);
                Ok((finished, StageOutcome::Cached))
            }
            AttemptStart::Working(mut attempt) => {
                let latest = attempt.newest_checkpoint()?.map(|checkpoint| checkpoint.dir);
                for note in attempt.notes() {
                    self.warn(stage, note);
                }
                let outcome = if latest.is_some() { StageOutcome::Resumed } else { StageOutcome::Ran };
                start(outcome, why);
                self.compute(stage, key, &attempt, latest, forced)?;
                Ok((attempt.finish(self.store, self.options.keep_training_state)?, outcome))
            }
        }
    }

    /// A finished stage that the run directory names. `gc` may have removed it just before.
    fn find(&self, key: &Digest) -> Result<Option<FinishedStage>> {
        let _hold = self.store.block_gc()?;
        Ok(self.store.lookup(key, self.options.wanted)?.found())
    }

    fn compute(
        &self,
        stage: &PlanEntry,
        key: &Digest,
        attempt: &Attempt,
        latest: Option<PathBuf>,
        forced: bool,
    ) -> Result<()> {
        let output = attempt.output()?;
        // If another process may work here, its files stay; no result depends on them.
        let live = self.alone.then(|| self.directory.clear_stage(&stage.name)).transpose()?;
        let source =
            |parent: &ParentStage| Some(self.finished[parent.stage].as_ref()?.dir.join(parent.file()));
        let sources: Vec<PathBuf> = stage.parents.iter().filter_map(source).collect();
        let features = self.options.feature_bytes.map(|limit| {
            let store =
                FeatureStore::new(self.store.features(), self.store.inputs(), self.options.variant, limit);
            // `--force` recomputes features too.
            if forced { store.in_folder(attempt.temporary_folder()) } else { store.for_stage(key) }
        });
        let team = self.team(stage, |stage| StageOrder {
            run: self.options.run,
            stage,
            sources: sources.clone(),
            checkpoint: latest.clone(),
            features: match (&features, forced) {
                (None, _) => FeaturesOrder::None,
                (Some(_), false) => FeaturesOrder::Stored(*key),
                (Some(_), true) => FeaturesOrder::InFolder(attempt.temporary_folder()),
            },
        })?;
        let zero = (self.options.clock)();
        let context = StageContext {
            device: self.options.device,
            team: &team,
            stage: &stage.name,
            sources: &sources,
            output: &output,
            live: live.as_deref(),
            checkpoints: &AttemptCheckpoints { attempt, latest },
            features: features.as_ref(),
            observer: self.observer,
            interrupt: self.interrupt,
            clock: &|| since(self.options.clock, zero),
            workers: self.options.workers,
            image_cache: self.options.image_cache,
            checkpoint_seconds: self.options.checkpoint_seconds,
            keep_training_state: self.options.keep_training_state,
        };
        stage.work.execute(&context)
    }

    /// The ranks that execute a stage: all, which then have their orders, or this one.
    fn team(&self, stage: &PlanEntry, order: impl FnOnce(usize) -> StageOrder) -> Result<Team<'_>> {
        let team = self.options.team;
        let (ranks, usable) = (team.count(), stage.work.usable_ranks());
        if team.is_alone() {
            return Ok(team.renewed());
        }
        if usable > 1 {
            if usable < ranks && matches!(stage.work, ResolvedStage::Train(..)) {
                let idle = ranks - usable;
                self.warn(stage, &format!(
                    "`accumulate = {usable}` has work for {usable} of {ranks} processes: {idle} of them only add and validate"
                ));
            }
            let index = self.plan.stages.iter().position(|other| other.name == stage.name);
            let index = index.ok_or_else(|| Error::bug("a stage that is not of the plan"))?;
            Order::Stage(order(index)).give(team)?;
            return Ok(team.renewed());
        }
        match stage.work {
            ResolvedStage::Train(..) => {
                self.warn(
                    stage,
                    &format!("one of {ranks} processes trains, and the others wait: `accumulate` is 1"),
                );
            }
            ResolvedStage::Evaluate(..) => {
                self.warn(stage, &format!("one of {ranks} processes evaluates boxes, and the others wait"));
            }
            _ => {}
        }
        Ok(Team::alone().renewed())
    }

    fn warn(&self, stage: &PlanEntry, message: &str) {
        self.observer.event(&Event::Warning { stage: Some(stage.name.clone()), message: message.to_owned() });
    }
}

/// The checkpoints of an attempt, for a stage.
struct AttemptCheckpoints<'a> {
    attempt: &'a Attempt,
    latest: Option<PathBuf>,
}

impl Checkpoints for AttemptCheckpoints<'_> {
    fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(self.latest.clone())
    }

    fn save(&self, fill: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        self.attempt.write_checkpoint(fill).map(drop)
    }
}
