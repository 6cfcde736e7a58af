//! `defrost report`: the one-page HTML of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::Result;
use defrost::digest::Difference;
use defrost::report::{ReportData, report_html};
use defrost::run::{self, RunDirectory, State};
use defrost::store::{self, Store};
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost report turtles --output turtles.html")]
pub struct Args {
    /// A path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    /// Write the page here; it then also says what changed since the run before
    ///
    /// The page within a run tells of that run alone, so that equal runs have equal files.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let run = args.runs.resolve(&args.run, console)?;
    let mut data = ReportData::read(run.path())?;
    data.state = run.state().to_string();
    let (page, alone) = match args.output {
        Some(file) => {
            data.changes = changes(&run)?;
            let alone = store::write_output(&file, report_html(&data).as_bytes())?;
            (file, alone)
        }
        None => {
            let (page, file) = (report_html(&data), run.path().join("report.html"));
            if !std::fs::read(&file).is_ok_and(|there| there == page.as_bytes()) {
                let written = run.write("report.html", page.as_bytes());
                written.map_err(|error| error.hint("write the page elsewhere with `--output FILE`"))?;
                // A run that is just being done again seals itself.
                if let (State::Complete, Some(runs), false) = (run.state(), runs_of(&run), run.is_live()) {
                    run.seal(&Store::open(runs))?;
                }
            }
            (file, true)
        }
    };
    if console.json() {
        console.document(&json!({ "run_dir": run.path(), "report": page }));
    } else if alone {
        console.say(shown(page.display()));
    } else {
        // It may be standard output, which has the page and nothing else.
        console.aside(shown(page.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// What distinguishes a run from the one of its name before it; nothing is known of a run that lies by itself.
fn changes(run: &RunDirectory) -> Result<Option<Vec<Difference>>> {
    let Some(runs) = runs_of(run) else { return Ok(None) };
    let this = run.path().display().to_string();
    Ok(run::list(runs)?.into_iter().find(|summary| summary.path == this).map(|summary| summary.changes))
}

/// The folder of all runs that a run lies in: `runs/<name>/<id>`.
fn runs_of(run: &RunDirectory) -> Option<&Path> {
    run.path().parent()?.parent()
}
