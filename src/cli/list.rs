//! `defrost list`: lists the runs.

use std::process::ExitCode;

use defrost::Result;
use defrost::report::minute;
use defrost::run::{self, MonitoredBest, RunState, RunSummary};
use serde_json::json;

use super::console::shown;
use super::page::PageOptions;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost list --runs-dir /data/runs")]
pub struct Args {
    #[command(flatten)]
    runs: RunsOptions,
    #[command(flatten)]
    page: PageOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let root = args.runs.root()?;
    let most = if console.json() { usize::MAX } else { args.page.rows(usize::MAX) };
    let names = run::list(&root, most)?;
    if console.json() {
        let runs: Vec<RunSummary> = names.into_iter().flat_map(|name| name.runs).collect();
        console.document(&json!({ "runs_dir": root, "runs": runs }));
        return Ok(ExitCode::SUCCESS);
    }
    if names.is_empty() {
        console.say(format!("no runs in {}", shown(root.display())));
    }
    for name in &names {
        console.say(format!("\x1b[1m{}\x1b[0m", shown(&name.name)));
        name.runs.iter().for_each(|run| console.say(entry(run)));
        if name.runs.len() < name.count {
            let more = name.count - name.runs.len();
            console.say(format!("  and {more} earlier: `--all` or `--limit N` shows them"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(run: &RunSummary) -> String {
    let started = run.started.as_deref().map_or_else(String::new, minute);
    let mut text = format!("  {}  {}  {}", shown(&run.id), state(run.state, 11), shown(started));
    if let Some(monitor) = &run.monitor {
        text += &format!("  {}", monitored(monitor));
    }
    if let Some(label) = &run.label {
        text += &format!("  \x1b[1m{}\x1b[0m", shown(label));
    }
    for change in &run.changes {
        text += &format!("\n            {}", shown(change));
    }
    text
}

pub(super) fn monitored(monitor: &MonitoredBest) -> String {
    let (metric, stage) = (shown(&monitor.metric), shown(&monitor.stage));
    format!("{metric} {:.4} (epoch {} of {stage})", monitor.value, monitor.epoch)
}

/// The state in its colour, padded to a width.
pub(super) fn state(state: RunState, width: usize) -> String {
    state_word(state.as_str(), width)
}

/// As [`state`], also for states that only a queue has.
pub(super) fn state_word(state: &str, width: usize) -> String {
    let color = match state {
        "complete" => 32,
        "running" => 36,
        "failed" => 31,
        "interrupted" => 33,
        _ => 0,
    };
    format!("\x1b[{color}m{state:width$}\x1b[0m")
}
