//! The compared runs: their cost and results. Runs that differ only in averaged settings are one group.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ComparedEvaluation, Difference, Unit};
use crate::metrics::{Direction, Metric};

/// Runs to compare, in display order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunComparison {
    pub title: String,
    pub groups: Vec<RunGroup>,
    /// The settings whose values are averaged, as dotted paths.
    pub averaged_over: Vec<String>,
    /// The label of the group that the others are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The evaluation that pictures and short metric names are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<String>,
    /// The metrics that the caller asks for, by their keys, in this order; without any, a selection.
    #[serde(skip)]
    pub chosen: Vec<String>,
    /// The metric of the curves.
    #[serde(skip)]
    pub curve: Option<&'static Metric>,
}

/// The images that a metric was measured on. Runs are selected by validation metrics; test metrics evaluate the
/// selected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricSplit {
    Train,
    Validation,
    #[default]
    Test,
}

impl MetricSplit {
    /// The split in an evaluation's `split` setting; `test` if it has none.
    pub fn named(split: Option<&str>) -> Self {
        match split {
            Some("train") => Self::Train,
            Some("validation") => Self::Validation,
            _ => Self::Test,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Runs that differ only in averaged settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunGroup {
    pub label: String,
    pub runs: Vec<ComparedRun>,
    /// For the last train stage: the number of trainable parameters, and the number of all parameters.
    pub trainable_parameters: Option<u64>,
    pub parameters: Option<u64>,
    /// The time to compute all its stages, in whichever run that happened. It depends on the machine.
    pub seconds: Option<MeanStd>,
    /// The peak memory of the process while its stages were computed. It depends on the machine.
    pub memory_bytes: Option<MeanStd>,
    /// By stage and metric: `test/accuracy`, or `finetune/validation_accuracy` of the best epoch of a train stage.
    pub metrics: BTreeMap<String, MeanStd>,
    /// The images that each of these metrics was measured on.
    pub parts: BTreeMap<String, MetricSplit>,
    /// These metrics minus those of the baseline.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub differences: BTreeMap<String, Difference>,
}

/// One run of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ComparedRun {
    pub run_dir: String,
    pub name: String,
    pub id: String,
    pub label: Option<String>,
    pub seed: u64,
    /// The part of a cross-validation that it holds out, for each data set with folds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fold: Vec<u64>,
    pub state: String,
    pub seconds: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub metrics: BTreeMap<String, f64>,
    pub parts: BTreeMap<String, MetricSplit>,
    /// The metrics that can be columns of the table.
    #[serde(skip)]
    pub headings: BTreeMap<String, Heading>,
    /// The epochs of its last train stage and of the train stages above, numbered consecutively. The values are the
    /// validation metric of [`RunComparison::curve`], or the training metric without a validation split.
    pub curve: Vec<[f64; 2]>,
    /// Of the compared evaluation.
    #[serde(skip)]
    pub evaluation: Option<ComparedEvaluation>,
}

/// A metric's column.
#[derive(Clone, Debug, PartialEq)]
pub struct Heading {
    /// The stage and the metric's title, such as `finetune validation accuracy`.
    pub text: String,
    pub unit: Unit,
    pub better: Direction,
    /// The place among the columns that are shown without a choice; none of a metric that must be asked for.
    pub place: Option<u8>,
    /// Whether it depends on the machine: two runs of the same pipeline have different values.
    pub of_machine: bool,
}

impl Heading {
    /// The column of a metric that a task declares.
    pub fn of(text: String, metric: &Metric) -> Self {
        let (unit, better, place) = (Unit::of(metric.format), metric.better, metric.column);
        Self { text, unit, better, place, of_machine: false }
    }
}

/// The mean over runs, and the sample standard deviation if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanStd {
    pub mean: f64,
    pub sd: Option<f64>,
    pub n: usize,
}

impl MeanStd {
    /// `None` without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Some(Self { mean, sd: (n > 1).then(|| libm::sqrt(squares / (n - 1) as f64)), n })
    }
}

impl RunComparison {
    /// The group that the others are compared with.
    pub fn baseline_group(&self) -> Option<&RunGroup> {
        self.groups.iter().find(|group| Some(&group.label) == self.baseline.as_ref())
    }

    /// Compares every other group with the one of this label.
    pub fn compare_with(&mut self, label: &str) {
        self.baseline = Some(label.to_owned());
        self.groups.iter_mut().for_each(|group| group.differences.clear());
        let Some(baseline) = self.baseline_group().cloned() else { return };
        for group in self.groups.iter_mut().filter(|group| group.label != label) {
            let of = |name: &String| Some((name.clone(), Difference::of(group, &baseline, name)?));
            group.differences = group.metrics.keys().filter_map(of).collect();
        }
    }

    /// The columns that metrics can have, by key.
    pub fn headings(&self) -> BTreeMap<&String, &Heading> {
        self.groups.iter().flat_map(|group| &group.runs).flat_map(|run| &run.headings).collect()
    }
}

impl RunGroup {
    /// The mean and deviation over its runs.
    pub fn new(label: String, runs: Vec<ComparedRun>, parameters: Option<(u64, u64)>) -> Self {
        let measure = |value: &dyn Fn(&ComparedRun) -> Option<f64>| {
            MeanStd::of(&runs.iter().filter_map(value).collect::<Vec<_>>())
        };
        let names = runs.iter().flat_map(|run| run.metrics.keys().cloned());
        let metrics = names.map(|name| (name.clone(), measure(&|run| run.metrics.get(&name).copied())));
        Self {
            metrics: metrics.filter_map(|(name, measure)| Some((name, measure?))).collect(),
            parts: runs.iter().flat_map(|run| run.parts.clone()).collect(),
            seconds: measure(&|run| run.seconds),
            memory_bytes: measure(&|run| Some(run.memory_bytes? as f64)),
            trainable_parameters: parameters.map(|(trainable, _)| trainable),
            parameters: parameters.map(|(_, all)| all),
            differences: BTreeMap::new(),
            label,
            runs,
        }
    }

    /// The metrics of the group itself, under the names that files have.
    pub(super) fn own(&self) -> [(&'static str, Option<MeanStd>); 4] {
        let alone = |value: Option<u64>| value.and_then(|value| MeanStd::of(&[value as f64]));
        [
            ("trainable_parameters", alone(self.trainable_parameters)),
            ("parameters", alone(self.parameters)),
            ("seconds", self.seconds),
            ("memory_bytes", self.memory_bytes),
        ]
    }
}
