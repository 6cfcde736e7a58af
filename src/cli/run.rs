//! `defrost run`: runs the stages that are not cached, and resumes interrupted ones.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use defrost::device::GpuMemory;
use defrost::error::ErrorKind;
use defrost::estimate::Learner;
use defrost::events::Fanout;
use defrost::run::{self, Interrupt, PipelineTexts, RunOptions, RunResult};
use defrost::{Error, Result};
use serde_json::json;

use super::console::shown;
use super::estimates::{self, Estimates};
use super::progress::Progress;
use super::session::Session;
use super::signals::Stop;
use super::{Console, PipelineOptions, data_table, undecodable};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost run turtles.toml --until frozen")]
pub struct Args {
    /// Pipeline file
    file: PathBuf,
    /// Recompute this stage and all downstream stages. All upstream stages must be finished
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Run only this stage and its upstream stages
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// Recompute everything. If bytes differ from before, the run fails and both results are kept
    #[arg(long)]
    force: bool,
    /// Hash every input again, instead of trusting file sizes and modification times
    #[arg(long)]
    rehash: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let stop = Stop::default();
    let sessions = Session::open(&args.file, &args.pipeline, args.rehash, Some(&stop), console)?;
    for (name, summary) in data_table::once(sessions.iter().map(|session| session.plan.data())) {
        data_table::doubles(&name, &summary).iter().for_each(|text| console.warn(text));
    }
    let interrupt = stop.listen()?;
    if let [session] = &sessions[..]
        && session.pipeline.label.is_none()
    {
        let summary = one(session, &args, interrupt, console)?;
        if console.json() {
            console.document(&summary);
        }
        return summary.error.map_or(Ok(ExitCode::SUCCESS), Err);
    }
    all(&sessions, &args, interrupt, console)
}

/// Runs the runs of a matrix one after the other. If one fails, the others still run.
fn all(sessions: &[Session], args: &Args, interrupt: &Interrupt, console: &Console) -> Result<ExitCode> {
    let (mut documents, mut failed, mut interrupted) = (Vec::new(), Vec::new(), None);
    for (index, session) in sessions.iter().enumerate() {
        let label = session.pipeline.label.as_deref().unwrap_or_default();
        estimates::begin_run();
        console.status(format!("\n\x1b[1m{}\x1b[0m ({} of {})", shown(label), index + 1, sessions.len()));
        let (mut document, error) = match one(session, args, interrupt, console) {
            Ok(summary) => (json!(summary), summary.error),
            Err(error) => (json!({ "error": error }), Some(error)),
        };
        document["label"] = json!(label);
        documents.push(document);
        match error {
            None => {}
            Some(error) if error.kind == ErrorKind::Interrupted => {
                interrupted = Some(error);
                break;
            }
            Some(error) => {
                console.error(&error);
                failed.push(label);
            }
        }
    }
    if console.json() {
        let mut document = json!({ "runs": documents });
        interrupted.iter().for_each(|error| document["error"] = json!(error));
        console.document(&document);
    }
    if let Some(error) = interrupted {
        return Err(error);
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::failed(format!("{} of {} runs failed: {}", failed.len(), sessions.len(), failed.join("; ")))
        .hint("run the same command again: finished stages are cached"))
}

fn one(session: &Session, args: &Args, interrupt: &Interrupt, console: &Console) -> Result<RunResult> {
    let settings = &session.pipeline.run;
    let (threads, pool) = session.threads()?;
    let statuses = session.statuses()?;
    session.require_precision(&statuses)?;
    // Check this before hours of training, not after.
    let asked = run::selected(&session.plan, args.from.as_deref(), args.until.as_deref())?;
    let found = session.plan.broken(&statuses, &asked, &session.store);
    undecodable::list(&found, console);
    undecodable::require_sound(&found)?;
    let mut estimates = Estimates::open(session);
    let (expected, workloads) = estimates::stage_estimates(session, &statuses, &estimates)?;
    let gauge = GpuMemory::of(&session.choice.device);
    let peak_bytes = || gauge.as_ref().map_or_else(estimates::peak_bytes, |gauge| Some(gauge.peak()));
    let options = RunOptions {
        device: &session.choice.device,
        from: args.from.as_deref(),
        until: args.until.as_deref(),
        force: args.force,
        wanted: session.wanted(),
        statuses: &statuses,
        variant: &session.choice.variant,
        workers: settings.workers.unwrap_or(threads),
        image_cache: settings.image_bytes(),
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
    let (progress, started) = (Progress::new(), Instant::now());
    let clock = || started.elapsed().as_secs_f64();
    let learner = Learner::new(workloads, gauge.is_some(), &clock);
    let observer = Fanout(vec![&progress, &learner]);
    let summary = pool.install(|| {
        run::execute(&session.plan, &texts, &session.store, &session.runs, &options, &observer, interrupt)
    });
    learner.save_into(&mut estimates.known);
    estimates.known.save();
    summary
}
