//! `defrost diff`: shows the differences between two runs.

use std::process::ExitCode;

use defrost::Result;
use defrost::digest::Difference;
use defrost::run;
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost diff 3f9c1a2b turtles")]
pub struct Args {
    /// Run to compare from: a path, the first digits of an id, a name or a pipeline file
    old: String,
    /// Run to compare to
    new: String,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let (old, new) = (args.runs.resolve(&args.old, console)?, args.runs.resolve(&args.new, console)?);
    let difference = run::diff(&old, &new)?;
    if console.json() {
        console.document(&json!({
            "old": old.path(), "new": new.path(), "settings": difference.causes, "results": difference.results,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    section(console, "settings", &difference.causes, |_| String::new());
    section(console, "results", &difference.results, change);
    Ok(ExitCode::SUCCESS)
}

fn section(console: &Console, title: &str, differences: &[Difference], note: fn(&Difference) -> String) {
    if differences.is_empty() {
        return console.say(format!("\x1b[1m{title}\x1b[0m  no differences"));
    }
    console.say(format!("\x1b[1m{title}\x1b[0m"));
    for difference in differences {
        console.say(format!("  {}{}", shown(difference), note(difference)));
    }
}

/// The change of a metric.
fn change(difference: &Difference) -> String {
    let number = |value: &Option<serde_json::Value>| value.as_ref().and_then(serde_json::Value::as_f64);
    match (number(&difference.old), number(&difference.new)) {
        (Some(old), Some(new)) => format!("  ({:+.4})", new - old),
        _ => String::new(),
    }
}
