//! `defrost report`: writes the one-page HTML report of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::Result;
use defrost::digest::Difference;
use defrost::report::report_html;
use defrost::run::{self, RunDirectory, RunState};
use defrost::store::{self, Store};
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost report turtles --output turtles.html")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    /// Write the report to this file, and include the changes since the previous run
    ///
    /// The report inside a run directory describes only that run, so that equal runs have equal files.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let run = args.runs.resolve(&args.run, console)?;
    let mut data = run::report_data(&run)?;
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
                // If the run is being computed again, it writes its own manifest.
                if let (RunState::Complete, Some(runs), false) = (run.state(), runs_of(&run), run.is_live()) {
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
        // The page may go to standard output, so no other output may go there.
        console.status(shown(page.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The changes since the previous run of the same name. `None` for a run outside a folder of runs.
fn changes(run: &RunDirectory) -> Result<Option<Vec<Difference>>> {
    let Some(runs) = runs_of(run) else { return Ok(None) };
    let this = run.path().display().to_string();
    Ok(run::list(runs)?.into_iter().find(|summary| summary.path == this).map(|summary| summary.changes))
}

/// The folder of all runs that contains a run: `runs/<name>/<id>`.
fn runs_of(run: &RunDirectory) -> Option<&Path> {
    run.path().parent()?.parent()
}
