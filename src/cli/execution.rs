//! Executes one planned run in this process, with estimates, progress and measurements.

use std::time::{Instant, SystemTime};

use defrost::Result;
use defrost::device::GpuMemory;
use defrost::estimate::Learner;
use defrost::events::{Fanout, Observer};
use defrost::plan::CheckedImages;
use defrost::run::{self, Interrupt, PipelineTexts, RunOptions, RunResult};

use super::estimates::{self, Estimates};
use super::progress::Progress;
use super::ranks::Together;
use super::session::Session;
use super::{Console, undecodable};

/// The stages to execute, as on the command line.
#[derive(Clone, Copy, Default)]
pub struct Selection<'a> {
    pub from: Option<&'a str>,
    pub until: Option<&'a str>,
    pub force: bool,
}

/// `others` also observe the run. With several ranks, this is rank 0.
pub fn execute(
    session: &Session,
    selection: Selection,
    together: Together,
    others: &[&dyn Observer],
    interrupt: &Interrupt,
    console: &Console,
) -> Result<RunResult> {
    let progress = Progress::new();
    let observers: Vec<&dyn Observer> =
        std::iter::once(&progress as &dyn Observer).chain(others.iter().copied()).collect();
    observed(session, selection, together, &observers, interrupt, console)
}

/// One of many runs, of which only the result is shown.
pub fn execute_quietly(session: &Session, interrupt: &Interrupt, console: &Console) -> Result<RunResult> {
    observed(session, Selection::default(), Together::alone(), &[], interrupt, console)
}

fn observed(
    session: &Session,
    selection: Selection,
    together: Together,
    others: &[&dyn Observer],
    interrupt: &Interrupt,
    console: &Console,
) -> Result<RunResult> {
    let settings = &session.pipeline.run;
    let (threads, pool) = session.threads(together.share)?;
    let statuses = session.statuses()?;
    session.require_precision(&statuses)?;
    // Check this before hours of training, not after.
    let asked = run::selected(&session.plan, selection.from, selection.until)?;
    let found = session.plan.broken(&statuses, &asked, &mut CheckedImages::open(&session.store));
    undecodable::list(&found, console);
    undecodable::require_sound(&found)?;
    let mut estimates = Estimates::open(session);
    let (expected, workloads) = estimates::stage_estimates(session, &statuses, &estimates)?;
    let gauge = GpuMemory::of(&session.choice.device);
    let peak_bytes = || gauge.as_ref().map_or_else(estimates::peak_bytes, |gauge| Some(gauge.peak()));
    let options = RunOptions {
        team: together.team,
        run: together.run,
        device: &session.choice.device,
        from: selection.from,
        until: selection.until,
        force: selection.force,
        wanted: session.wanted(),
        statuses: &statuses,
        earlier: &session.earlier_stages(),
        variant: &session.choice.variant,
        workers: settings.workers.unwrap_or(threads),
        image_cache: settings.image_bytes() / together.share.processes,
        checkpoint_seconds: settings.checkpoint_seconds,
        keep_training_state: settings.keep_training_state,
        feature_bytes: settings.feature_bytes(),
        tensorboard: settings.tensorboard,
        clock: SystemTime::now,
        expected,
        peak_bytes: &peak_bytes,
    };
    let resolved = session.pipeline.to_toml();
    let texts = PipelineTexts { pipeline: &session.pipeline.text, resolved: &resolved };
    let started = Instant::now();
    let clock = || started.elapsed().as_secs_f64();
    let learner = Learner::new(workloads, gauge.is_some(), &clock);
    let mut observers: Vec<&dyn Observer> = vec![&learner];
    observers.extend(others);
    let observer = Fanout(observers);
    let summary = pool.install(|| {
        run::execute(&session.plan, &texts, &session.store, &session.runs, &options, &observer, interrupt)
    });
    learner.save_into(&mut estimates.known);
    estimates.known.save();
    summary
}
