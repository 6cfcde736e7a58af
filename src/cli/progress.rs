//! Prints progress: one live line on a terminal, else plain lines every few seconds, and a table at the end.
//!
//! All of it goes to standard error. Colours depend on `NO_COLOR` and on whether the output is a terminal.

mod table;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use defrost::events::{Event, Observer, StageOutcome};
use defrost::metrics::{Metric, TaskMetrics};
use defrost::report::{TaskReporting, column_text, count, duration};
use defrost::{sanitize, task};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::{shown, tell};
use table::{EndedStage, table};

/// Interval between reports of steps, if lines cannot be overwritten.
const INTERVAL: Duration = Duration::from_secs(5);

/// Prints events for the user at the terminal or the reader of a log.
pub struct Progress {
    screen: Mutex<Screen>,
}

struct Screen {
    /// Whether lines can be overwritten.
    terminal: bool,
    /// The live line while a stage takes steps.
    live: Option<ProgressBar>,
    last_step: Option<Instant>,
    /// The last finished epoch of the current stage, and the number of its epochs.
    epoch: Option<(u32, u32)>,
    /// All stages of the run, in order.
    stages: Vec<String>,
    /// The metrics of each stage's task, if it has one.
    metrics: BTreeMap<String, &'static TaskMetrics>,
    ended: Vec<EndedStage>,
}

impl Progress {
    pub fn new() -> Self {
        let terminal =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            screen: Mutex::new(Screen {
                terminal,
                live: None,
                last_step: None,
                epoch: None,
                stages: Vec::new(),
                metrics: BTreeMap::new(),
                ended: Vec::new(),
            }),
        }
    }

    /// For the steps of one stage, outside a run.
    pub fn of_stage(name: &str, task: Option<&TaskReporting>) -> Self {
        let mut progress = Self::new();
        let screen = progress.screen.get_mut().unwrap_or_else(PoisonError::into_inner);
        screen.metrics.extend(task.map(|task| (name.to_owned(), task.metrics)));
        progress
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        // A panic elsewhere must not stop the output; the state is consistent after every event.
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).event(event);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.hide();
    }
}

impl Screen {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { name, run_dir, stages, tasks, .. } => {
                self.say(&format!("\x1b[1m{}\x1b[0m in {}", shown(name), shown(run_dir)));
                self.stages.clone_from(stages);
                let metrics =
                    |(stage, task): (&String, &String)| Some((stage.clone(), task::named(task)?.metrics));
                self.metrics = tasks.iter().filter_map(metrics).collect();
            }
            Event::StageStarted { stage, kind, outcome, reason } => {
                let reason = reason.as_ref().map(|reason| format!(": {}", shown(reason))).unwrap_or_default();
                self.say(&headed(started(*outcome), &format!("{stage} ({kind}){reason}")));
                (self.last_step, self.epoch) = (None, None);
            }
            Event::Step { stage, epoch, epochs, step, steps, .. } => {
                let line = step_line(event, self.metrics(stage).history);
                if self.terminal {
                    let share = f64::from(*epoch - 1) + *step as f64 / (*steps).max(1) as f64;
                    let live = self.live.get_or_insert_with(|| live_line(stage));
                    live.set_message(format!("{line}  {}", bar(share / f64::from(*epochs))));
                } else if self.last_step.is_none_or(|last| last.elapsed() >= INTERVAL) {
                    self.say(&format!("{:>10} {stage}  {line}", ""));
                    self.last_step = Some(Instant::now());
                }
            }
            Event::Features { stage, done, of, images_per_second } => {
                let line = format!("frozen layers {done}/{of}  {images_per_second:.0} images/s");
                if self.terminal {
                    let live = self.live.get_or_insert_with(|| live_line(stage));
                    live.set_message(format!("{line}  {}", bar(*done as f64 / (*of).max(1) as f64)));
                } else if self.last_step.is_none_or(|last| last.elapsed() >= INTERVAL) {
                    self.say(&format!("{:>10} {stage}  {line}", ""));
                    self.last_step = Some(Instant::now());
                }
            }
            Event::FeaturesFound { stage, images, stored } => {
                let stored = if stored == images { "all".to_owned() } else { count(*stored) };
                self.say(&format!(
                    "{:>10} {stage}  features of {} images: {stored} from the store",
                    "",
                    count(*images)
                ));
            }
            Event::Trainable { stage, summary, .. } => {
                self.say(&format!("{:>10} {stage}  {}", "", shown(summary)));
            }
            Event::WeightsNamed { stage, names } => {
                self.say(&format!("{:>10} {stage}  the weights have {}", "", shown(names)));
            }
            Event::WeightsAdapted { stage, what } => {
                self.say(&format!("{:>10} {stage}  {}", "", shown(what)));
            }
            Event::FeaturesRecomputed { stage, reason } => {
                self.say(&format!("{:>10} {stage}  features are not kept: {}", "", shown(reason)));
            }
            Event::EpochFinished { stage, epoch, epochs, row, best } => {
                let line = epoch_line(*epoch, *epochs, row, *best, self.metrics(stage));
                self.say(&format!("{:>10} {stage}  {line}", ""));
                (self.last_step, self.epoch) = (Some(Instant::now()), Some((*epoch, *epochs)));
            }
            Event::CheckpointWritten { .. } | Event::StageCost { .. } | Event::InferenceTime { .. } => {}
            Event::Warning { stage, message } => {
                let stage = stage.as_ref().map(|stage| format!("stage `{stage}`: ")).unwrap_or_default();
                self.say(&format!("\x1b[1;33mwarning\x1b[0m: {stage}{}", sanitize::lines(message)));
            }
            Event::StageFinished { stage, outcome, seconds, metrics } => {
                self.hide();
                let finished = EndedStage {
                    stage: stage.clone(),
                    status: outcome.as_str(),
                    seconds: (*outcome != StageOutcome::Cached).then_some(*seconds),
                    reached: None,
                    below: None,
                    numbers: metrics.clone(),
                    metrics: self.metrics(stage),
                };
                if *outcome != StageOutcome::Cached {
                    let result = finished.result().map(|result| format!(": {result}")).unwrap_or_default();
                    let early = self.epoch.filter(|(epoch, epochs)| epoch < epochs);
                    let early = early.map_or_else(String::new, |(epoch, epochs)| {
                        format!(", stopped early after epoch {epoch} of {epochs}")
                    });
                    let text = format!("{} in {}{result}{early}", finished.stage, duration(*seconds));
                    self.say(&headed("finished", &text));
                }
                self.ended.push(finished);
            }
            Event::StageDeclined { stage, source, message, causes } => {
                self.say(&format!("\x1b[1;33mwarning\x1b[0m: stage `{stage}` {message}"));
                for cause in causes {
                    self.say(&format!("{:>9}{cause}", ""));
                }
                if let Some(ended) = self.ended.iter_mut().find(|ended| ended.stage == *stage) {
                    ended.below = Some(source.clone());
                }
            }
            Event::StageStopped { stage, how, seconds } => {
                self.hide();
                let reached = self.epoch.map(|(epoch, epochs)| format!("after epoch {epoch} of {epochs}"));
                self.ended.push(EndedStage {
                    stage: stage.clone(),
                    status: how.as_str(),
                    seconds: Some(*seconds),
                    reached,
                    below: None,
                    numbers: BTreeMap::new(),
                    metrics: &TaskMetrics::NONE,
                });
            }
            Event::RunFinished { state, seconds, error, .. } => {
                self.hide();
                if error.is_some() {
                    self.add_not_run();
                }
                if !self.ended.is_empty() {
                    self.say(&format!("\n{}", table(&self.ended)));
                }
                self.say(&format!("\x1b[1m{state}\x1b[0m after {}", duration(*seconds)));
            }
        }
    }

    fn metrics(&self, stage: &str) -> &'static TaskMetrics {
        self.metrics.get(stage).copied().unwrap_or_default()
    }

    /// Adds the stages that did not run because of an error or a request to stop.
    fn add_not_run(&mut self) {
        for stage in &self.stages {
            if self.ended.iter().all(|ended| ended.stage != *stage) {
                self.ended.push(EndedStage {
                    stage: stage.clone(),
                    status: "not run",
                    seconds: None,
                    reached: None,
                    below: None,
                    numbers: BTreeMap::new(),
                    metrics: &TaskMetrics::NONE,
                });
            }
        }
    }

    /// Prints permanent lines above the live one.
    fn say(&self, text: &str) {
        match &self.live {
            Some(bar) => bar.suspend(|| tell(text)),
            None => tell(text),
        }
    }

    fn hide(&mut self) {
        if let Some(bar) = self.live.take() {
            bar.finish_and_clear();
        }
    }
}

/// A live line without a message yet. Text beyond the width of the terminal is cut off.
fn live_line(stage: &str) -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    line.set_style(ProgressStyle::with_template("{prefix:>10} {wide_msg}").expect("a valid template"));
    line.set_prefix(stage.to_owned());
    line
}

/// A bar of twelve characters, filled to a fraction.
fn bar(share: f64) -> String {
    let filled = (share.clamp(0.0, 1.0) * 12.0).round() as usize;
    "━".repeat(filled) + &"╌".repeat(12 - filled)
}

fn started(outcome: StageOutcome) -> &'static str {
    match outcome {
        StageOutcome::Ran => "running",
        StageOutcome::Cached => "cached",
        StageOutcome::Resumed => "resuming",
    }
}

/// A line with its verb in a separate column.
pub(super) fn headed(verb: &str, text: &str) -> String {
    format!("\x1b[1;36m{verb:>10}\x1b[0m {text}")
}

/// `epoch 3/10  step 12/40  loss 0.4102  accuracy 83.2 %  3:07 left  123 images/s`: the least important part is last,
/// where a narrow terminal cuts it off.
fn step_line(event: &Event, metrics: &[Metric]) -> String {
    let Event::Step { epoch, epochs, step, steps, scores, images_per_second, seconds_left, .. } = event
    else {
        return String::new();
    };
    let mut line = String::new();
    if *epochs > 1 {
        line += &format!("epoch {epoch}/{epochs}  ");
    }
    line += &format!("step {step}/{steps}");
    for metric in metrics {
        if let Some(value) = scores.get(metric.name) {
            line += &format!("  {} {}", metric.title, column_text(metric.format, *value));
        }
    }
    if seconds_left.is_finite() && *seconds_left >= 0.0 {
        line += &format!("  {} left", clock(*seconds_left));
    }
    if images_per_second.is_finite() && *images_per_second > 0.0 {
        line += &format!("  {images_per_second:.0} images/s");
    }
    line
}

/// `epoch 3/10  training loss 0.4102, accuracy 83.2 %  validation loss 0.39, accuracy 85.0 %  best`.
fn epoch_line(epoch: u32, epochs: u32, row: &[(String, f64)], best: bool, metrics: &TaskMetrics) -> String {
    let mut line = format!("epoch {epoch}/{epochs}");
    for (part, name) in [("train_", "training"), ("validation_", "validation")] {
        let column = |column: &str| {
            row.iter().find(|(name, _)| name.strip_prefix(part) == Some(column)).map(|(_, value)| *value)
        };
        // For validation, the metrics that are measured in training too, because readers compare the two, and those that
        // matter most.
        let shown = |metric: &&Metric| metric.in_training || metrics.headline.contains(&metric.name);
        let values = metrics.history.iter().filter(shown).filter_map(|metric| {
            let value = column(metric.name)?;
            Some(format!("{} {}", metric.title, column_text(metric.format, value)))
        });
        let values: Vec<String> = values.collect();
        if !values.is_empty() {
            line += &format!("  {name} {}", values.join(", "));
        }
    }
    if best { line + "  best" } else { line }
}

/// `0:42`, `3:07`, `2:05:00`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole % 3600 / 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests;
