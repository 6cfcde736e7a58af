//! `defrost run`: runs the stages that are not cached, and resumes interrupted ones.

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::error::ErrorKind;
use defrost::ranks::Team;
use defrost::run::Interrupt;
use defrost::{Error, Result};
use serde_json::{Value, json};

use super::console::shown;
use super::execution::{self, Selection};
use super::executor::local;
use super::ranks::{self, ThreadShare, Together};
use super::search::{self, SearchOptions, Searched};
use super::session::Session;
use super::signals::Stop;
use super::{Console, PipelineOptions, data_table, estimates};

#[derive(clap::Args)]
#[command(
    after_help = "Examples: defrost run turtles.toml --until frozen\n          defrost run seeds.toml --jobs 4    (the runs of a matrix, in 4 processes)"
)]
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
    /// Execute the runs of a matrix in this many processes at a time, which divide the threads. Stages that several runs
    /// share come first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256),
          conflicts_with_all = ["from", "until", "force"])]
    jobs: u32,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let stop = Stop::default();
    let load = || Session::load(&args.file, &args.pipeline, Some(&stop), console);
    let open = |runs| Session::of(runs, &args.file, &args.pipeline, args.rehash, console);
    let mpi = match ranks::join() {
        // Another process says so.
        Err(_) if ranks::is_hushed() => return Ok(ExitCode::SUCCESS),
        joined => joined?,
    };
    let Some(mpi) = mpi else {
        return match Searched::of(load()?) {
            Ok(searched) => search_runs(searched, &args, stop.listen()?, console),
            Err(runs) => run_all(&open(runs)?, &args, Together::alone(), stop.listen()?, console),
        };
    };
    let team = Team::new(&mpi);
    let opened = ranks::open(&team, || {
        require_one_process_a_run(&args)?;
        stop.listen()?;
        Searched::of(load()?).map_or_else(open, |_| Err(no_search_of_several_processes()))
    });
    if !team.leads() {
        let followed = ranks::follow(&mpi, opened.as_deref().unwrap_or_default(), stop.listen()?);
        return Ok(ranks::followed(mpi, followed));
    }
    let outcome = opened.and_then(|sessions| {
        console.status(ranks::describe(&mpi));
        let together = Together { team: &team, run: 0, share: ThreadShare::of(&mpi) };
        run_all(&sessions, &args, together, stop.listen()?, console)
    });
    ranks::leave(mpi, outcome)
}

fn require_one_process_a_run(args: &Args) -> Result<()> {
    match args.jobs {
        1 => Ok(()),
        _ => Err(Error::usage(
            "`--jobs` starts processes of its own, but a launcher has started several already",
        )
        .hint("leave out `--jobs`: the processes work together on one run after the other")),
    }
}

fn no_search_of_several_processes() -> Error {
    Error::usage("processes that a launcher started cannot work together on a search")
        .hint("start `defrost run` without a launcher; `--jobs N` computes N samples at a time")
}

fn run_all(
    sessions: &[Session],
    args: &Args,
    together: Together,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<ExitCode> {
    for (name, summary) in data_table::once(sessions.iter().map(|session| session.plan.data())) {
        data_table::doubles(&name, &summary).iter().for_each(|text| console.warn(text));
    }
    if let [session] = sessions
        && session.pipeline.label.is_none()
    {
        let summary = execution::execute(session, selection(args), together, &[], interrupt, console)?;
        if console.json() {
            console.document(&summary);
        }
        return summary.error.map_or(Ok(ExitCode::SUCCESS), Err);
    }
    if args.jobs > 1 {
        let ended = local::run_all(sessions, &args.file, &args.pipeline, args.jobs as usize, interrupt)?;
        return finish(sessions, ended, console);
    }
    all(sessions, args, together, interrupt, console)
}

fn search_runs(
    searched: Searched,
    args: &Args,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<ExitCode> {
    let refused =
        [("--from", args.from.is_some()), ("--until", args.until.is_some()), ("--force", args.force)];
    if let Some((option, _)) = refused.into_iter().find(|(_, given)| *given) {
        return Err(Error::usage(format!("`{option}` cannot be combined with a search"))
            .hint("select a sample with `--only`, such as `--only sample=1`"));
    }
    let options = SearchOptions {
        file: &args.file,
        pipeline: &args.pipeline,
        rehash: args.rehash,
        jobs: args.jobs as usize,
    };
    search::run(searched, &options, interrupt, console)
}

fn selection(args: &Args) -> Selection<'_> {
    Selection { from: args.from.as_deref(), until: args.until.as_deref(), force: args.force }
}

/// How a run of a matrix ended: its document, and its error if it did not finish.
pub type EndedRun = (Value, Option<Error>);

/// Runs the runs of a matrix one after the other. If one fails, the others still run.
fn all(
    sessions: &[Session],
    args: &Args,
    together: Together,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<ExitCode> {
    let mut ended: Vec<EndedRun> = Vec::new();
    for (index, session) in sessions.iter().enumerate() {
        let label = session.pipeline.label.as_deref().unwrap_or_default();
        estimates::begin_run();
        console.status(format!("\n\x1b[1m{}\x1b[0m ({} of {})", shown(label), index + 1, sessions.len()));
        let together = Together { run: index, ..together };
        let executed = execution::execute(session, selection(args), together, &[], interrupt, console);
        let (document, error) = match executed {
            Ok(summary) => (json!(summary), summary.error),
            Err(error) => (json!({ "error": error }), Some(error)),
        };
        let stopped = error.as_ref().is_some_and(|error| error.kind == ErrorKind::Interrupted);
        error.iter().filter(|_| !stopped).for_each(|error| console.error(error));
        ended.push((document, error));
        if stopped {
            break;
        }
    }
    finish(sessions, ended, console)
}

/// Prints the document of all runs, and returns the error of the command.
fn finish(sessions: &[Session], ended: Vec<EndedRun>, console: &Console) -> Result<ExitCode> {
    let (mut documents, mut failed, mut interrupted) = (Vec::new(), Vec::new(), None);
    for (session, (mut document, error)) in sessions.iter().zip(ended) {
        let label = session.pipeline.label.as_deref().unwrap_or_default();
        document["label"] = json!(label);
        documents.push(document);
        match error {
            None => {}
            Some(error) if error.kind == ErrorKind::Interrupted => interrupted = interrupted.or(Some(error)),
            Some(_) => failed.push(label),
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
