//! `defrost run`: runs what is not cached, resumes what was interrupted.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use defrost::estimate::Learner;
use defrost::events::Fanout;
use defrost::run::{self, Interrupt, Options, Texts};
use defrost::{Error, Result};

use super::estimates::{self, Estimates};
use super::progress::Progress;
use super::session::Session;
use super::{Console, PipelineOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost run turtles.toml --until frozen")]
pub struct Args {
    /// The pipeline file
    file: PathBuf,
    /// Recompute this stage and all below it; all above must be finished
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Run this stage and what it needs, and nothing else
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// Recompute everything; other bytes than before are a failure that keeps both
    #[arg(long)]
    force: bool,
    /// Read every input anew instead of trusting size and times
    #[arg(long)]
    rehash: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let session = Session::open(&args.file, &args.pipeline, args.rehash, console)?;
    let settings = &session.pipeline.run;
    let interrupt = Interrupt::default();
    stop_on_signals(&interrupt)?;
    let threads = settings.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::failed(format!("cannot start {threads} threads: {error}")))?;
    let mut estimates = Estimates::open(&session);
    let (expected, workloads) = estimates::expected(&session, &session.statuses()?, &estimates)?;
    let options = Options {
        from: args.from.as_deref(),
        until: args.until.as_deref(),
        force: args.force,
        wanted: session.wanted(),
        variant: &session.choice.variant,
        workers: settings.workers.unwrap_or(threads),
        image_cache: settings.image_bytes(),
        checkpoint_seconds: settings.checkpoint_seconds,
        feature_bytes: settings.feature_bytes(),
        clock: SystemTime::now,
        expected,
        peak_bytes: estimates::peak_bytes,
    };
    let resolved = session.pipeline.to_toml();
    let texts = Texts { pipeline: &session.pipeline.text, resolved: &resolved };
    let (progress, started) = (Progress::new(), Instant::now());
    let clock = || started.elapsed().as_secs_f64();
    let learner = Learner::new(workloads, &clock);
    let observer = Fanout(vec![&progress, &learner]);
    let summary = pool.install(|| {
        run::execute(&session.plan, &texts, &session.store, &session.runs, &options, &observer, &interrupt)
    });
    learner.teach(&mut estimates.known);
    estimates.known.save();
    let summary = summary?;
    if console.json() {
        console.document(&summary);
    }
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C, SIGTERM and SIGUSR1 ask for a checkpoint and an orderly end; a second Ctrl-C does not wait for it.
fn stop_on_signals(interrupt: &Interrupt) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    let failed = |error| Error::failed(format!("cannot listen for signals: {error}"));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, interrupt.flag()).map_err(failed)?;
    for signal in [SIGINT, SIGTERM, SIGUSR1] {
        signal_hook::flag::register(signal, interrupt.flag()).map_err(failed)?;
    }
    Ok(())
}
