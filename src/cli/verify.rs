//! `defrost verify`: checks that the files and results of a run have not changed.

use std::process::ExitCode;

use defrost::run;
use defrost::{Error, Result};
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost verify turtles")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let run = args.runs.resolve(&args.run, console)?;
    let found = run::verify(&run)?;
    if console.json() {
        console.document(&json!({
            "valid": found.problems.is_empty(), "run_dir": run.path(),
            "files": found.files, "frozen": found.frozen, "problems": found.problems,
        }));
    } else {
        console.say(format!(
            "{}: {} files unchanged since the run ended",
            shown(run.path().display()),
            found.files
        ));
        for proof in &found.frozen {
            console.say(format!(
                "stages/{}/{}: {} frozen {}, all bits unchanged",
                shown(&proof.stage),
                shown(&proof.checkpoint),
                proof.tensors,
                if proof.tensors == 1 { "tensor" } else { "tensors" },
            ));
        }
    }
    for problem in &found.problems {
        console.error(&Error::failed(problem.to_string()));
    }
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
