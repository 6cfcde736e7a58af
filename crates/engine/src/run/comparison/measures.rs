//! The numbers of a run beyond the validation scores of its epochs: those of evaluations, their gaps, and what the run
//! costs.

use std::collections::BTreeMap;

use super::costs::Costs;
use crate::error::Result;
use crate::metrics::{Direction, Metric};
use crate::report::{
    ComparedEvaluation, ComparedNumber, Heading, MetricSplit, ReportData, StageFiles, StageReport, Unit,
};
use crate::run::results::results;
use crate::run::{RunDirectory, RunRecord};
use crate::stage::LAST;
use crate::task;

/// A number of a run.
pub(super) struct Measured {
    /// The stage and the name, such as `test/accuracy`.
    pub key: String,
    pub value: f64,
    pub part: MetricSplit,
    /// Whether it can be a column.
    pub heading: Option<Heading>,
}

/// A metric that is known, with its curve over epochs.
type Curve<'a> = (&'static Metric, &'a [[f64; 2]]);

/// The fraction of the last value that counts as learned.
const LEARNED: f64 = 0.9;

/// All numbers but the validation scores of epochs.
pub(super) fn measures(
    run: &RunDirectory,
    record: &RunRecord,
    report: &ReportData,
    costs: &Costs,
    evaluations: &BTreeMap<String, ComparedEvaluation>,
    curve: Option<Curve>,
) -> Vec<Measured> {
    let mut all = Vec::new();
    for stage in finished_evaluations(report) {
        all.extend(of_evaluation(run, stage));
        let part = MetricSplit::named(stage.settings["split"].as_str());
        let numbers = evaluations.get(&stage.name).into_iter().flat_map(|evaluation| &evaluation.numbers);
        all.extend(numbers.map(|number| of_number(stage, number, part)));
    }
    all.extend(gaps(report, &all));
    all.extend(of_cost(run, record, report, costs));
    all.extend(
        curve
            .and_then(epochs_to_learn)
            .map(|epochs| cost("epochs_to_90", "epochs to 90 %".to_owned(), epochs, Unit::Count, false)),
    );
    all
}

/// What their tasks show of the finished evaluations in comparisons, by stage.
pub(super) fn evaluations(
    run: &RunDirectory,
    record: &RunRecord,
    report: &ReportData,
) -> Result<BTreeMap<String, ComparedEvaluation>> {
    let mut evaluations = BTreeMap::new();
    for StageReport { name, .. } in finished_evaluations(report) {
        let stage = record.stage(name);
        let Some(task) = stage.and_then(|stage| task::of_stage(&stage.kind, &stage.document)) else {
            continue;
        };
        evaluations.insert(name.clone(), (task.compared)(&StageFiles::new(run.path(), name))?);
    }
    Ok(evaluations)
}

fn finished_evaluations(report: &ReportData) -> impl Iterator<Item = &StageReport> {
    report.stages.iter().filter(|stage| stage.kind == "evaluate" && stage.evaluation.is_some())
}

/// The numbers in an evaluation's `metrics.json`, without lists.
fn of_evaluation(run: &RunDirectory, stage: &StageReport) -> Vec<Measured> {
    let part = MetricSplit::named(stage.settings["split"].as_str());
    let measured = |(name, value): (String, f64)| {
        let title = |metric: &Metric| format!("{} {}", stage.name, metric.title);
        let declared = stage.metrics.of_evaluation(&name);
        let heading = match declared {
            Some(metric) => Heading::of(title(metric), metric),
            None => number_heading(format!("{} {name}", stage.name), Unit::Number, Direction::Higher),
        };
        Measured { key: format!("{}/{name}", stage.name), value, part, heading: Some(heading) }
    };
    results(run, &stage.name).into_iter().map(measured).collect()
}

fn of_number(stage: &StageReport, number: &ComparedNumber, part: MetricSplit) -> Measured {
    let ComparedNumber { name, value, unit, better } = number;
    let heading = number_heading(format!("{} {}", stage.name, name.replace('_', " ")), *unit, *better);
    Measured { key: format!("{}/{name}", stage.name), value: *value, part, heading: Some(heading) }
}

/// A column that is shown when it is asked for.
fn number_heading(text: String, unit: Unit, better: Direction) -> Heading {
    Heading { text, unit, better, place: None, of_machine: false }
}

/// Training minus validation, of the metrics that evaluations of the same weights have on both splits: overfitting. A gap
/// has the name of the stage that measures the validation split.
fn gaps(report: &ReportData, measured: &[Measured]) -> Vec<Measured> {
    let of_split = |split: &'static str| {
        report.stages.iter().filter(move |stage| stage.kind == "evaluate" && stage.settings["split"] == split)
    };
    let pairs = of_split("train").flat_map(|train| {
        of_split("validation").filter(|other| other.from() == train.from()).map(move |other| (train, other))
    });
    let mut gaps: Vec<Measured> = Vec::new();
    for (train, validation) in pairs {
        for metric in train.metrics.evaluation {
            let value = |stage: &StageReport| {
                let key = format!("{}/{}", stage.name, metric.name);
                measured.iter().find(|number| number.key == key).map(|number| number.value)
            };
            let Some(gap) = value(train).zip(value(validation)).map(|(train, other)| train - other) else {
                continue;
            };
            let key = format!("gap/{}/{}", validation.name, metric.name);
            let text = format!("gap {} ({})", metric.title, validation.name);
            let heading = number_heading(text, Unit::of(metric.format), Direction::Lower);
            gaps.push(Measured { key, value: gap, part: MetricSplit::Validation, heading: Some(heading) });
        }
    }
    gaps
}

/// Sizes and times. Times are those of the runs that computed the stages.
fn of_cost(run: &RunDirectory, record: &RunRecord, report: &ReportData, costs: &Costs) -> Vec<Measured> {
    let mut all = Vec::new();
    let trained = || report.stages.iter().filter(|stage| stage.kind == "train");
    let weights = trained().next_back().map(|stage| run.stage(&stage.name).join(LAST));
    let size = weights.and_then(|file| file.metadata().ok()).map(|file| file.len() as f64);
    all.extend(size.map(|size| cost("size", "size".to_owned(), size, Unit::Megabytes, false)));
    let (mut epochs, mut seconds) = (0.0, Some(0.0));
    for stage in &record.stages {
        let Some(took) = costs.stage_seconds(stage) else { continue };
        let key = format!("seconds/{}", stage.name);
        all.push(cost(&key, format!("{} time", stage.name), took, Unit::Seconds, true));
    }
    for stage in trained() {
        epochs += stage.history.len() as f64;
        let took = record.stage(&stage.name).and_then(|stage| costs.stage_seconds(stage));
        seconds = seconds.zip(took).map(|(all, took)| all + took);
    }
    let of_epoch = seconds.filter(|_| epochs > 0.0).map(|seconds| seconds / epochs);
    all.extend(
        of_epoch.map(|took| cost("seconds_per_epoch", "epoch time".to_owned(), took, Unit::Seconds, true)),
    );
    let inference = record.stages.iter().filter_map(|stage| costs.inference_seconds(stage)).reduce(f64::min);
    all.extend(inference.map(|took| {
        cost("inference_seconds", "inference per image".to_owned(), took, Unit::Milliseconds, true)
    }));
    all
}

fn cost(key: &str, text: String, value: f64, unit: Unit, of_machine: bool) -> Measured {
    let heading = Heading { text, unit, better: Direction::Lower, place: None, of_machine };
    Measured { key: key.to_owned(), value, part: MetricSplit::Validation, heading: Some(heading) }
}

/// The first epoch whose value is at least 90 % of the last one's, over the train stages in a row. `None` of a metric
/// that is better low.
fn epochs_to_learn((metric, points): Curve) -> Option<f64> {
    let last = points.last()?[1];
    let learned = points.iter().find(|point| point[1] >= LEARNED * last);
    learned.filter(|_| metric.better == Direction::Higher && last > 0.0).map(|point| point[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricFormat;

    #[test]
    fn a_metric_is_learned_at_nine_tenths_of_its_last_value() {
        static AP: Metric = Metric::new("ap", "AP", MetricFormat::Share, Direction::Higher);
        static LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower);
        let points = [[1.0, 0.1], [2.0, 0.46], [3.0, 0.44], [4.0, 0.5]];
        assert_eq!(epochs_to_learn((&AP, &points)), Some(2.0));
        assert_eq!(epochs_to_learn((&LOSS, &points)), None);
        assert_eq!(epochs_to_learn((&AP, &[[1.0, 0.0]])), None);
        assert_eq!(epochs_to_learn((&AP, &[])), None);
    }
}
