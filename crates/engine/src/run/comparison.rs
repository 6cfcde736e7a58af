//! Reads runs for a comparison: parameters, metrics, curves, and the cost of their stages, wherever they were computed.

mod best;
mod costs;
mod images;
mod labels;
mod measures;

use std::collections::HashMap;

use rayon::prelude::*;
use serde_json::{Value, json};

pub use self::best::{BestRuns, best_runs};
pub use self::images::{ComparedSheet, compared_sheets};

use self::costs::Costs;
use self::measures::{Measured, measures};
use super::RunDirectory;
use super::diff::inputs_and_versions;
use super::locate::name_of;
use super::report::report_data;
use crate::digest::differences;
use crate::error::{Error, Result};
use crate::metrics::{Metric, TaskMetrics};
use crate::pipeline::run_label;
use crate::pipeline::suggest::{closest, help};
use crate::report::{ComparedRun, Heading, MetricSplit, ReportData, RunComparison, RunGroup, StageReport};
use crate::task;

/// The settings that are averaged over: runs that differ only in them form one row, with mean and standard deviation.
pub struct AveragedSettings(Vec<String>);

impl AveragedSettings {
    /// Dotted paths of settings, such as `data.turtles.split.seed`. The seed of the pipeline is always one of them.
    pub fn over(paths: &[String]) -> Self {
        Self(std::iter::once("seed").chain(paths.iter().map(String::as_str)).map(str::to_owned).collect())
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Also over the folds of a cross-validation: runs of one row hold out another part each.
    fn with_folds(&self, runs: &[RunDirectory]) -> Result<Self> {
        let mut paths = self.0.clone();
        for run in runs {
            let settings = run.settings()?;
            for (name, data) in settings["data"].as_object().into_iter().flatten() {
                let path = format!("data.{name}.split.fold");
                if !data["split"]["fold"].is_null() && !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        Ok(Self(paths))
    }

    /// Whether runs of one row may read different images.
    fn varies_data(&self) -> bool {
        self.paths().any(|path| path.starts_with("data."))
    }
}

/// A run, with the values that decide its group.
struct LoadedRun {
    run: ComparedRun,
    settings: Value,
    /// Settings, inputs and versions, without the name and the averaged settings.
    alike: Value,
    parameters: Option<(u64, u64)>,
    /// The metric of its curve.
    curve: Option<&'static Metric>,
}

/// What a comparison shows, besides the averaged settings.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// The label of the row that the others are compared with.
    pub baseline: Option<String>,
    /// The metrics of the table, by names or patterns; without any, a selection.
    pub metrics: Vec<String>,
    /// The evaluate stage of pictures and of metrics without a stage. By default the first that measures the validation
    /// split, else the first.
    pub evaluation: Option<String>,
}

/// Reads runs for a comparison. `arguments` has the runs of each argument of the command. Runs of one argument that
/// differ only in averaged settings form one row. Runs of different arguments never do.
///
/// # Errors
/// The plan or the settings of a run cannot be read, or no two runs differ in a setting of `averaged`. No run has the
/// baseline, a metric or the evaluation of `options`.
pub fn compare_runs(
    arguments: &[Vec<RunDirectory>],
    averaged: &AveragedSettings,
    options: &CompareOptions,
) -> Result<RunComparison> {
    let runs: Vec<RunDirectory> = arguments.iter().flatten().cloned().collect();
    let (asked, averaged) = (averaged, &averaged.with_folds(&runs)?);
    let costs = Costs::of(&runs)?;
    let evaluation = evaluation(&runs, options.evaluation.as_deref())?;
    let mut groups: Vec<Vec<LoadedRun>> = Vec::new();
    for runs in arguments {
        let mut places: HashMap<String, usize> = HashMap::new();
        let all: Vec<LoadedRun> = runs
            .par_iter()
            .map(|run| read(run, &costs, averaged, evaluation.as_deref()))
            .collect::<Result<_>>()?;
        for read in all {
            let alike = read.alike.to_string();
            match places.get(&alike) {
                Some(place) => groups[*place].push(read),
                None => {
                    places.insert(alike, groups.len());
                    groups.push(vec![read]);
                }
            }
        }
    }
    check_averaged(&groups, asked)?;
    let mut names: Vec<&str> = groups.iter().flatten().map(|read| read.run.name.as_str()).collect();
    names.dedup();
    let title = names.join(", ");
    let labels = labels::labels(&groups, averaged);
    // A figure shows one metric: that of the first run.
    let curve = groups.first().and_then(|group| group[0].curve);
    let others = groups.iter_mut().flatten().filter(|read| read.curve != curve);
    others.for_each(|read| read.run.curve.clear());
    let groups = groups.into_iter().zip(labels).map(|(mut group, label)| {
        group.sort_by_key(|read| (read.run.seed, read.run.fold.clone()));
        let parameters = group[0].parameters;
        RunGroup::new(label, group.into_iter().map(|read| read.run).collect(), parameters)
    });
    let mut comparison = RunComparison {
        title,
        groups: groups.collect(),
        averaged_over: averaged.paths().map(str::to_owned).collect(),
        evaluation,
        curve,
        ..RunComparison::default()
    };
    if let Some(baseline) = &options.baseline {
        let label = known_label(&comparison, baseline)?;
        comparison.compare_with(&label);
    }
    comparison.chosen = comparison.find_metrics(&options.metrics)?;
    Ok(comparison)
}

/// The evaluate stage that is compared: the named one, or the first that measures the validation split.
fn evaluation(runs: &[RunDirectory], name: Option<&str>) -> Result<Option<String>> {
    let mut stages: Vec<(String, bool)> = Vec::new();
    for run in runs {
        let settings = run.settings()?;
        for stage in run.record()?.stages.iter().filter(|stage| stage.kind == "evaluate") {
            let validates = settings["stage"][&stage.name]["split"] == "validation";
            if stages.iter().all(|(known, _)| *known != stage.name) {
                stages.push((stage.name.clone(), validates));
            }
        }
    }
    let Some(name) = name else {
        let first = stages.iter().find(|(_, validates)| *validates).or(stages.first());
        return Ok(first.map(|(stage, _)| stage.clone()));
    };
    let names = || stages.iter().map(|(stage, _)| stage.as_str());
    if names().any(|stage| stage == name) {
        return Ok(Some(name.to_owned()));
    }
    let error = Error::usage(format!("--stage: no run has an evaluate stage `{name}`"));
    let help = help(name, "they have", names());
    Err(error
        .hint(help.unwrap_or_else(|| "add a stage with `kind = \"evaluate\"` to the pipelines".to_owned())))
}

/// The label of a row: written whole, or without the name of its setting (`resnet50` of `arch=resnet50`).
fn known_label(comparison: &RunComparison, label: &str) -> Result<String> {
    let labels = || comparison.groups.iter().map(|group| group.label.as_str());
    let value = |known: &&str| known.split_once('=').is_some_and(|(_, value)| value == label);
    // As `list` and `--only` write it: `arch=resnet50` of a row that is called `resnet50`.
    let in_full = || {
        let has = |part: (&str, &str)| format!("{}={}", part.0, part.1) == label;
        let named =
            |run: &ComparedRun| run.label.as_deref().is_some_and(|own| run_label::parts(own).any(has));
        let mut rows = comparison.groups.iter().filter(|group| group.runs.first().is_some_and(named));
        rows.next().filter(|_| rows.next().is_none()).map(|group| group.label.as_str())
    };
    let found = labels().find(|known| *known == label).or_else(|| labels().find(value)).or_else(in_full);
    if let Some(found) = found {
        if comparison.groups.len() == 1 {
            return Err(Error::usage(format!(
                "--baseline: `{found}` is the only row, so nothing differs from it"
            ))
            .hint("name further runs"));
        }
        return Ok(found.to_owned());
    }
    let error = Error::usage(format!("--baseline: no row has the label `{label}`"));
    Err(match help(label, "the rows are", labels()) {
        Some(help) => error.hint(help),
        None => error,
    })
}

/// A misspelt path, or one whose value never varies, would silently have no effect.
fn check_averaged(groups: &[Vec<LoadedRun>], averaged: &AveragedSettings) -> Result<()> {
    let reads: Vec<&LoadedRun> = groups.iter().flatten().collect();
    let varies = |path: &str| {
        reads.iter().any(|read| value_at(&read.settings, path) != value_at(&reads[0].settings, path))
    };
    let Some(path) = averaged.paths().skip(1).find(|path| !varies(path)) else { return Ok(()) };
    let error = Error::usage(format!("--over: the runs do not differ in `{path}`"));
    let fields = reads.iter().flat_map(|read| differences(&reads[0].settings, &read.settings));
    let fields: Vec<String> =
        fields.map(|difference| difference.field).filter(|field| field != "name").collect();
    let near = fields.iter().find(|field| field.ends_with(&format!(".{path}"))).map(String::as_str);
    Err(match near.or_else(|| closest(path, fields.iter().map(String::as_str))) {
        Some(field) => error.hint(format!("did you mean `{field}`?")),
        None => error.hint(
            "use the dotted path of a setting, as for `--set`; `defrost diff RUN RUN` shows differences",
        ),
    })
}

/// The value at a dotted path; list items are addressed by index.
fn value_at<'a>(settings: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(settings, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })
}

fn without(settings: &mut Value, path: &str) {
    let (table, key) = match path.rsplit_once('.') {
        Some((table, key)) => (settings.pointer_mut(&format!("/{}", table.replace('.', "/"))), key),
        None => (Some(settings), path),
    };
    if let Some(Value::Object(table)) = table {
        table.remove(key);
    }
}

fn read(
    run: &RunDirectory,
    costs: &Costs,
    averaged: &AveragedSettings,
    evaluation: Option<&str>,
) -> Result<LoadedRun> {
    let record = run.record()?;
    let settings = run.settings()?;
    let mut alike = settings.clone();
    std::iter::once("name").chain(averaged.paths()).for_each(|path| without(&mut alike, path));
    let mut inputs = inputs_and_versions(&record);
    if averaged.varies_data() {
        let stages = inputs["stage"].as_object_mut().into_iter().flat_map(|stages| stages.values_mut());
        stages.for_each(|stage| without(stage, "inputs"));
    }
    let report = report_data(run)?;
    let trained = report.stages.iter().rev().find_map(|stage| stage.training.as_ref());
    let parameters = trained.map(|training| {
        let counts = &training.parameters;
        (counts.trainable_parameters, counts.trainable_parameters + counts.frozen_parameters)
    });
    let curve = curve_metric(&report);
    let points = curve.map(|metric| points(&report, metric)).unwrap_or_default();
    let mut evaluations = measures::evaluations(run, &record, &report)?;
    let curve_points = curve.map(|metric| (metric, &points[..]));
    let measured: Vec<Measured> = report
        .stages
        .iter()
        .flat_map(validated)
        .chain(measures(run, &record, &report, costs, &evaluations, curve_points))
        .collect();
    Ok(LoadedRun {
        alike: json!({ "settings": alike, "inputs": inputs }),
        parameters,
        run: ComparedRun {
            run_dir: run.path().display().to_string(),
            name: name_of(run),
            id: run.id(),
            label: record.label.clone(),
            seed: settings["seed"].as_u64().unwrap_or(0),
            fold: folds(&settings),
            state: run.state().to_string(),
            seconds: costs.seconds(&record),
            memory_bytes: costs.memory(&record),
            metrics: measured.iter().map(|number| (number.key.clone(), number.value)).collect(),
            parts: measured.iter().map(|number| (number.key.clone(), number.part)).collect(),
            headings: measured.into_iter().filter_map(|number| Some((number.key, number.heading?))).collect(),
            curve: points,
            evaluation: evaluation.and_then(|name| evaluations.remove(name)),
        },
        settings,
        curve,
    })
}

/// The parts that a run holds out, one for each data set with folds.
fn folds(settings: &Value) -> Vec<u64> {
    let data = settings["data"].as_object().into_iter().flat_map(|data| data.values());
    data.filter_map(|data| data["split"]["fold"].as_u64()).collect()
}

/// The validation scores of a train stage in its best epoch.
fn validated(stage: &StageReport) -> Vec<Measured> {
    let best = stage.training.as_ref().and_then(|training| training.best.as_ref());
    let scores = best.and_then(|best| best.validation.as_ref());
    let measured = |(name, value): (&String, &f64)| {
        let title = |metric: &Metric| format!("{} validation {}", stage.name, metric.title);
        let heading = stage.metrics.of_epoch(name).map(|metric| Heading::of(title(metric), metric));
        let key = format!("{}/validation_{name}", stage.name);
        Measured { key, value: *value, part: MetricSplit::Validation, heading }
    };
    scores.into_iter().flatten().map(measured).collect()
}

/// The metric of a run's curve: the comparison metric of the last train stage. Without a train stage, it is that of the
/// first task that trains.
fn curve_metric(report: &ReportData) -> Option<&'static Metric> {
    let leading =
        |metrics: &TaskMetrics| metrics.by_prominence().into_iter().find(|metric| metric.column.is_some());
    let trained = report.stages.iter().rev().find(|stage| stage.kind == "train");
    let any = task::TASKS.iter().rev().map(|task| task.metrics);
    trained.map(|stage| stage.metrics).into_iter().chain(any).find_map(leading)
}

/// A metric by epoch, of the last train stage and of those it starts from. Epochs are numbered consecutively.
fn points(report: &ReportData, metric: &Metric) -> Vec<[f64; 2]> {
    let mut chain: Vec<&StageReport> = Vec::new();
    let mut next = report.stages.iter().rev().find(|stage| stage.kind == "train");
    while let Some(stage) = next {
        chain.push(stage);
        let above = stage.from().and_then(|from| report.stage(from.split('@').next().unwrap_or(from)));
        next = above.filter(|above| above.kind == "train");
    }
    let mut points = Vec::new();
    for stage in chain.into_iter().rev() {
        let before = points.len() as f64;
        let values = stage.history.iter().map(|row| {
            row.validated(metric.name).or(row.train.get(metric.name).copied()).unwrap_or(f64::NAN)
        });
        let numbered = values.enumerate().map(|(index, value)| [before + index as f64 + 1.0, value]);
        points.extend(numbered.filter(|point| point[1].is_finite()));
    }
    points
}
