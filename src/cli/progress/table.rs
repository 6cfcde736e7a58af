//! The closing table of a run: one row per stage.

use std::fmt::Write;

use defrost::metrics::{MetricFormat, Scores, TaskMetrics};
use defrost::report::{count, duration, percent};

/// A row of the closing table.
pub struct EndedStage {
    pub stage: String,
    pub status: &'static str,
    /// `None` for a stage that took no time.
    pub seconds: Option<f64>,
    /// The last finished epoch of a stage that did not finish.
    pub reached: Option<String>,
    /// The train stage that it started from, if its result is worse than that stage's.
    pub below: Option<String>,
    /// The numbers of `metrics.json` by dotted path.
    pub numbers: Scores,
    /// The metrics of its task.
    pub metrics: &'static TaskMetrics,
}

impl EndedStage {
    /// The progress of an unfinished stage, or its result, with a note if its source was better.
    fn shown(&self) -> String {
        let result = self.reached.clone().or_else(|| self.result()).unwrap_or_default();
        self.below.iter().fold(result, |result, source| format!("{result}, below {source}"))
    }

    /// The most important metric.
    pub fn result(&self) -> Option<String> {
        let headline = self.metrics.summary(&self.numbers)?;
        let shown = match headline.format {
            MetricFormat::Percent | MetricFormat::Share => percent(headline.value),
            MetricFormat::Number => format!("{:.3}", headline.value),
        };
        Some(format!("{} {shown}", headline.title))
    }
}

/// The closing table. Columns are as wide as their contents.
pub fn table(rows: &[EndedStage]) -> String {
    let head = ["stage", "status", "time", "result", "trainable", "frozen"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        // The count is for the whole stage. If layers unfreeze later, its first epochs train fewer parameters.
        let parameters = |key: &str| {
            let value = row.numbers.get(&format!("parameters.{key}"));
            value.map(|value| count(*value as u64)).unwrap_or_default()
        };
        [
            row.stage.clone(),
            row.status.to_owned(),
            row.seconds.map(duration).unwrap_or_default(),
            row.shown(),
            parameters("trainable_parameters"),
            parameters("frozen_parameters"),
        ]
    });
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut out = String::new();
    for (place, line) in lines.iter().enumerate() {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            // Text is left-aligned, numbers right-aligned.
            let cell = if matches!(column, 0 | 1 | 3) {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            };
            text += &cell;
            text += "  ";
        }
        let text = text.trim_end();
        let dim = if place == 0 { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        writeln!(out, "{}{text}{}", dim.0, dim.1).expect("a String takes any text");
    }
    out
}
