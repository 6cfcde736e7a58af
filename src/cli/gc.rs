//! `defrost gc`: removes cached files that no run needs.

use std::process::ExitCode;

use defrost::Result;
use defrost::run;
use defrost::store::Store;
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  defrost gc          (list what would be removed)\n  defrost gc --yes    (remove it)"
)]
pub struct Args {
    /// Remove the files, instead of listing them
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let root = args.runs.root()?;
    let store = Store::open(&root);
    let survey = if args.yes { run::free(&store, &root)? } else { run::survey(&store, &root)? };
    if console.json() {
        console.document(&json!({
            "freed": args.yes, "bytes": survey.bytes(), "garbage": survey.garbage, "kept": survey.kept,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    for item in &survey.garbage {
        let path = item.path.strip_prefix(&root).unwrap_or(&item.path);
        console.say(format!("{:>9}  {}  {}", size(item.bytes), item.what, shown(path.display())));
    }
    let total = match (survey.garbage.is_empty(), args.yes) {
        (true, _) => "nothing to free".to_owned(),
        (false, true) => format!("freed {}", size(survey.bytes())),
        (false, false) => format!("would free {}: run `defrost gc --yes`", size(survey.bytes())),
    };
    console.say(format!("{total}; {} cached stages are still in use", survey.kept));
    Ok(ExitCode::SUCCESS)
}

fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        _ if bytes < 1e3 => format!("{bytes} B"),
        _ if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        _ if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}
