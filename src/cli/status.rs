//! `defrost status`: shows the state of one run, or of the runs of a file on a cluster, once or continuously.

mod cluster;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use defrost::report::{column_text, minute};
use defrost::run::{self, RunDirectory, RunState, RunSummary, StageOverview, StepProgress};
use defrost::{Error, Result, sanitize};

use super::console::shown;
use super::list::state;
use super::options::searched_name;
use super::page::PageOptions;
use super::preparation::submitted;
use super::progress::clock;
use super::search;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(
    after_help = "Examples: defrost status turtles\n          defrost status turtles --watch\n          defrost status seeds.toml    (after `defrost submit seeds.toml`: all its runs and their jobs)"
)]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file. Of a file that was submitted to a
    /// cluster, all runs
    run: String,
    /// Update the output until the run ends
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    runs: RunsOptions,
}

/// Interval between two updates.
const INTERVAL: Duration = Duration::from_secs(1);

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    if args.watch && console.json() {
        let error = Error::usage("`--watch` cannot be combined with `--json`");
        return Err(error.hint("remove one of them"));
    }
    let file = Path::new(&args.run);
    if file.is_file()
        && let submissions = submitted(file, &args.runs)?
        && !submissions.is_empty()
    {
        return cluster::show(&args.run, &submissions, args.watch, args.page, console);
    }
    if let Some(name) = searched_name(file)
        && let Some((report, folder)) = run::read_search(&args.runs.root_of(&args.run)?, &name)
    {
        return search::status(&report, &folder, args.page, console);
    }
    let directory = args.runs.resolve(&args.run, console)?;
    if args.watch {
        return watch(&directory, console);
    }
    let summary = run::summarize(&directory)?;
    if console.json() {
        console.document(&summary);
    } else {
        console.say(text(&summary, SystemTime::now()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a run until it is no longer running: in one place on a terminal, else one block per change.
fn watch(directory: &RunDirectory, console: &Console) -> Result<ExitCode> {
    let in_place = std::io::stdout().is_terminal();
    let mut shown = String::new();
    loop {
        let summary = run::summarize(directory)?;
        let text = text(&summary, SystemTime::now());
        if text != shown {
            // Moves up to the first line of the last output and clears everything below.
            let lines = shown.lines().count();
            if in_place && lines > 0 {
                console.raw(format!("\x1b[{lines}F\x1b[J").as_bytes());
            }
            // A wrapped line would take two rows, so lines are cut at the edge instead.
            let [cut, wrap] = if in_place { ["\x1b[?7l", "\x1b[?7h"] } else { ["", ""] };
            console.raw(cut.as_bytes());
            console.say(&text);
            console.raw(wrap.as_bytes());
            shown = text;
        }
        if summary.state != RunState::Running {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(INTERVAL);
    }
}

fn text(run: &RunSummary, now: SystemTime) -> String {
    let started =
        run.started.as_deref().map_or_else(String::new, |time| format!(", started {}", minute(time)));
    let mut text = format!("\x1b[1m{}/{}\x1b[0m  {}", shown(&run.name), shown(&run.id), state(run.state, 0));
    let label = run.label.as_deref().map_or_else(String::new, |label| format!("  {}", shown(label)));
    text += &format!("{}{label}\n{}", shown(started), shown(&run.path));
    let width =
        |of: fn(&StageOverview) -> &str| run.stages.iter().map(|stage| of(stage).len()).max().unwrap_or(0);
    let (names, kinds) = (width(|stage| &stage.name), width(|stage| &stage.kind));
    for stage in &run.stages {
        let line = format!(
            "  {:names$}  {:kinds$}  {:10}  {}",
            shown(&stage.name),
            shown(&stage.kind),
            shown(stage.status),
            details(stage, now)
        );
        text += &format!("\n{}", line.trim_end());
    }
    if let Some(failure) = &run.error {
        text += &format!("\n\x1b[1;31merror\x1b[0m: {}", sanitize::lines(&failure.message));
        if let Some(hint) = &failure.hint {
            text += &format!("\n\x1b[1;36mhint\x1b[0m: {}", sanitize::lines(hint));
        }
    }
    text
}

/// The progress or the result of a stage.
pub(super) fn details(stage: &StageOverview, now: SystemTime) -> String {
    let mut parts = Vec::new();
    if let Some((done, all)) = stage.epochs.filter(|_| stage.status != "cached") {
        // Within an epoch, the current epoch is counted, as in the output of `run`.
        let within = stage.step.as_ref().is_some_and(|step| step.of == "step");
        parts.push(format!("epoch {}/{all}", if within { (done + 1).min(all) } else { done }));
    }
    if let Some(step) = &stage.step {
        parts.push(step_progress(step, now));
        let scores =
            stage.task.history.iter().filter_map(|metric| Some((metric, *step.scores.get(metric.name)?)));
        parts.extend(
            scores.map(|(metric, value)| format!("{} {}", metric.title, column_text(metric.format, value))),
        );
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
        let shown = stage.task.evaluation.iter().map(|metric| metric.name);
        let metrics = shown.filter_map(|name| Some((name, stage.metrics.get(name)?)));
        parts.extend(metrics.map(|(name, value)| format!("{name} {value:.4}")));
    }
    parts.join(", ")
}

/// `step 12/40, 123 images/s, 3:07 left (4 s ago)`.
fn step_progress(step: &StepProgress, now: SystemTime) -> String {
    let mut text = format!("{} {}/{}", step.of, step.done, step.all);
    if step.images_per_second.is_finite() && step.images_per_second > 0.0 {
        text += &format!(", {:.0} images/s", step.images_per_second);
    }
    if let Some(left) = step.seconds_left {
        text += &format!(", {} left", clock(left));
    }
    let recorded: Option<SystemTime> = step.time.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    let ago = recorded.and_then(|recorded| now.duration_since(recorded).ok()).unwrap_or_default();
    if ago > Duration::from_secs(2) { text + &format!(" ({} s ago)", ago.as_secs()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_how_far_how_fast_and_how_long_still() {
        let step = StepProgress {
            of: "step",
            done: 12,
            all: 40,
            images_per_second: 123.4,
            seconds_left: Some(187.0),
            scores: Default::default(),
            time: "2026-11-22T01:59:28.000Z".into(),
        };
        let now: jiff::Timestamp = "2026-11-22T01:59:32Z".parse().unwrap();
        assert_eq!(step_progress(&step, now.into()), "step 12/40, 123 images/s, 3:07 left (4 s ago)");
        let features = StepProgress { of: "features", seconds_left: None, images_per_second: 0.0, ..step };
        assert_eq!(step_progress(&features, SystemTime::UNIX_EPOCH), "features 12/40");
    }
}
