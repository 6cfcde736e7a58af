//! `defrost report`: writes the one-page HTML report of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::Result;
use defrost::report::{ReportData, report_html};
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
    /// Write the report to this file, with the times of the run and the changes since the previous run
    ///
    /// The report inside a run directory has neither, so that equal runs have equal files. Links to files of the run work
    /// while neither the report nor the run is moved.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let run = args.runs.resolve(&args.run, console)?;
    let (page, alone) = match args.output {
        Some(file) => {
            let mut data = whole(&run)?;
            match way(file.parent().unwrap_or(Path::new("")), run.path()) {
                Some(way) => data.files_at = way,
                None => data.remove_links(),
            }
            let alone = store::write_output(&file, report_html(&data).as_bytes())?;
            (file, alone)
        }
        None => {
            let data = of_now(&run)?;
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

fn of_now(run: &RunDirectory) -> Result<ReportData> {
    Ok(ReportData { state: run.state().to_string(), ..run::report_data(run)? })
}

/// The report of a run with what depends on the clock and on other runs.
pub(super) fn whole(run: &RunDirectory) -> Result<ReportData> {
    let changes = runs_of(run).map(|runs| run::changes_since_previous(runs, run)).transpose()?;
    Ok(ReportData { changes, times: run::run_times(run), ..of_now(run)? })
}

/// The relative way from a folder to another, with a `/` at its end. `None` if there is none, or it is not text.
fn way(from: &Path, to: &Path) -> Option<String> {
    let from = if from.as_os_str().is_empty() { Path::new(".") } else { from };
    // The folder of a new page may not exist yet.
    let from = from.canonicalize().or_else(|_| std::path::absolute(from)).ok()?;
    let to = to.canonicalize().ok()?;
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let down = |path: &Path| path.components().skip(shared).collect::<PathBuf>();
    // Two drives of Windows share nothing.
    if shared == 0 {
        return None;
    }
    let up = from.components().skip(shared).map(|_| "../");
    let down = down(&to);
    let down = down.components().map(|part| Some(format!("{}/", part.as_os_str().to_str()?)));
    Some(up.collect::<String>() + &down.collect::<Option<String>>()?)
}

/// The folder of all runs that contains a run: `runs/<name>/<id>`.
fn runs_of(run: &RunDirectory) -> Option<&Path> {
    run.path().parent()?.parent()
}
