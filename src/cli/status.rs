//! `defrost status`: the state of one run.

use std::process::ExitCode;

use defrost::Result;
use defrost::run::{self, RunSummary, StageSummary};
use defrost::visible;

use super::console::shown;
use super::list::{minutes, state};
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost status turtles")]
pub struct Args {
    /// A path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let summary = run::summarize(&args.runs.resolve(&args.run, console)?)?;
    if console.json() {
        console.document(&summary);
    } else {
        console.say(text(&summary));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(run: &RunSummary) -> String {
    let started =
        run.started.as_deref().map_or_else(String::new, |time| format!(", started {}", minutes(time)));
    let mut text = format!("\x1b[1m{}/{}\x1b[0m  {}", shown(&run.name), shown(&run.id), state(run.state, 0));
    let label = run.label.as_deref().map_or_else(String::new, |label| format!("  {}", shown(label)));
    text += &format!("{}{label}\n{}", shown(started), shown(&run.path));
    let width =
        |of: fn(&StageSummary) -> &str| run.stages.iter().map(|stage| of(stage).len()).max().unwrap_or(0);
    let (names, kinds) = (width(|stage| &stage.name), width(|stage| &stage.kind));
    for stage in &run.stages {
        let line = format!(
            "  {:names$}  {:kinds$}  {:10}  {}",
            shown(&stage.name),
            shown(&stage.kind),
            shown(&stage.status),
            details(stage)
        );
        text += &format!("\n{}", line.trim_end());
    }
    if let Some(failure) = &run.error {
        text += &format!("\n\x1b[1;31merror\x1b[0m: {}", visible::lines(&failure.message));
        if let Some(hint) = &failure.hint {
            text += &format!("\n\x1b[1;36mhint\x1b[0m: {}", visible::lines(hint));
        }
    }
    text
}

fn details(stage: &StageSummary) -> String {
    let mut parts = Vec::new();
    if let Some((done, all)) = stage.epochs.filter(|_| stage.status != "cached") {
        parts.push(format!("epoch {done}/{all}"));
    }
    if let Some(monitor) = &stage.monitor {
        parts.push(format!(
            "best {} {:.4} at epoch {}",
            shown(&monitor.metric),
            monitor.value,
            monitor.epoch
        ));
    }
    if stage.kind == "evaluate" {
        let shown = [
            "map",
            "accuracy",
            "macro_f1",
            "micro_f1",
            "loss",
            "verification.auc",
            "verification.eer",
            "identification.rank1",
            "identification.mean_average_precision",
        ];
        let metrics = shown.into_iter().filter_map(|name| Some((name, stage.metrics.get(name)?)));
        parts.extend(metrics.map(|(name, value)| format!("{name} {value:.4}")));
    }
    parts.join(", ")
}
