//! The best of many runs, found without reading them whole: a table of thousands of rows helps nobody.

use std::collections::HashMap;

use rayon::prelude::*;
use serde_json::Value;

use super::{AveragedSettings, without};
use crate::error::{Error, Result};
use crate::metrics::Direction;
use crate::run::RunDirectory;
use crate::run::summary::{MonitoredBest, monitored};
use crate::task;

/// The rows of a comparison that are best by a validation metric.
pub struct BestRuns {
    /// The runs of each argument that are in one of these rows, the best row first.
    pub arguments: Vec<Vec<RunDirectory>>,
    /// The number of all rows.
    pub rows: usize,
    /// The metric, such as `validation/accuracy`. `None` if no run has one.
    pub metric: Option<String>,
}

/// A row: the place of its argument, the sum and the number of its values, and its runs.
struct Row {
    argument: usize,
    sum: f64,
    count: usize,
    runs: Vec<RunDirectory>,
}

/// The `most` best rows by `metric`, or by the `monitor` of the last train stage of the first run. Runs that differ only in
/// averaged settings are one row, whose mean counts. Rows without the metric come last.
///
/// # Errors
/// The settings of a run cannot be read, or no run has the named metric.
pub fn best_runs(
    arguments: &[Vec<RunDirectory>],
    averaged: &AveragedSettings,
    metric: Option<&str>,
    most: usize,
) -> Result<BestRuns> {
    let all: Vec<(usize, &RunDirectory)> = arguments
        .iter()
        .enumerate()
        .flat_map(|(place, runs)| runs.iter().map(move |run| (place, run)))
        .collect();
    let first: Vec<RunDirectory> = all.iter().take(1).map(|(_, run)| (*run).clone()).collect();
    let averaged = averaged.with_folds(&first)?;
    let read = |(argument, run): &(usize, &RunDirectory)| {
        let settings = run.settings()?;
        let best = best_of(run, &settings, metric);
        let mut alike = settings;
        std::iter::once("name").chain(averaged.paths()).for_each(|path| without(&mut alike, path));
        Ok((*argument, alike.to_string(), best, (*run).clone()))
    };
    let read: Vec<_> = all.par_iter().map(read).collect::<Result<_>>()?;
    let metric = match metric {
        Some(name) if read.iter().all(|(_, _, best, _)| best.is_none()) => {
            return Err(Error::usage(format!("--by: no run has the metric `{name}`"))
                .hint("name a validation metric of a train stage, such as `validation/accuracy`"));
        }
        Some(name) => Some(name.to_owned()),
        None => read.iter().find_map(|(_, _, best, _)| best.as_ref()).map(|best| best.metric.clone()),
    };
    let better = metric.as_deref().map_or(Direction::Higher, direction);
    let (mut rows, mut places): (Vec<Row>, HashMap<(usize, String), usize>) = Default::default();
    for (argument, alike, best, run) in read {
        let place = *places.entry((argument, alike)).or_insert_with(|| {
            rows.push(Row { argument, sum: 0.0, count: 0, runs: Vec::new() });
            rows.len() - 1
        });
        let row = &mut rows[place];
        row.runs.push(run);
        if let Some(best) = best.filter(|best| Some(&best.metric) == metric.as_ref()) {
            row.sum += best.value;
            row.count += 1;
        }
    }
    let count = rows.len();
    let mean = |row: &Row| (row.count > 0).then(|| row.sum / row.count as f64);
    rows.sort_by(|a, b| match (mean(a), mean(b)) {
        (Some(a), Some(b)) if better == Direction::Lower => a.total_cmp(&b),
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    rows.truncate(most);
    let mut arguments = vec![Vec::new(); arguments.len()];
    rows.into_iter().for_each(|row| arguments[row.argument].extend(row.runs));
    Ok(BestRuns { arguments, rows: count, metric })
}

/// Which value of a validation metric is better, as its task says.
fn direction(metric: &str) -> Direction {
    let name = metric.strip_prefix("validation/").unwrap_or(metric);
    let declared = task::TASKS.iter().find_map(|task| task.metrics.of_epoch(name));
    declared.map_or(Direction::Higher, |metric| metric.better)
}

/// The metric in the last train stage that has it.
fn best_of(run: &RunDirectory, settings: &Value, metric: Option<&str>) -> Option<MonitoredBest> {
    let stages = settings["stage"].as_object()?;
    let trained = stages.iter().filter(|(_, stage)| stage["kind"] == "train");
    let mut found =
        trained.filter_map(|(name, stage)| monitored(run, name, metric.or(stage["monitor"].as_str())?));
    found.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_better_low() {
        for loss in ["loss", "box_loss", "class_loss", "dfl_loss"] {
            assert_eq!(direction(&format!("validation/{loss}")), Direction::Lower, "{loss}");
        }
        for score in ["accuracy", "ap50_95", "rank1"] {
            assert_eq!(direction(&format!("validation/{score}")), Direction::Higher, "{score}");
        }
    }
}
