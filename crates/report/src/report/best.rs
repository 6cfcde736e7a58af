//! Which stage of a run is the best of those that were measured alike.

use std::collections::BTreeMap;

use serde_json::Value;

use super::data::StageReport;
use crate::metrics::{Direction, Metric};

/// What makes two stages comparable: the images, the metric and, for a loss, its definition.
#[derive(PartialEq)]
struct Measure<'a> {
    metric: &'static Metric,
    data: &'a Value,
    /// The measured split: a train stage's is the validation split.
    split: Option<&'a Value>,
    loss: Option<&'a Value>,
}

/// The best stages, each with the metric by which it is best, such as `validation accuracy`. Train stages are compared in
/// their best epochs, evaluations of one split with each other. A stage without a rival is not listed, nor are stages
/// that are all equal.
pub(super) fn best_stages(stages: &[StageReport]) -> BTreeMap<&str, String> {
    let mut groups: Vec<(Measure, Vec<(&str, f64)>)> = Vec::new();
    for stage in stages {
        let Some((measure, value)) = measure(stage) else { continue };
        match groups.iter_mut().find(|(other, _)| *other == measure) {
            Some((_, rivals)) => rivals.push((&stage.name, value)),
            None => groups.push((measure, vec![(&stage.name, value)])),
        }
    }
    let mut found = BTreeMap::new();
    for (Measure { metric, split, .. }, rivals) in groups {
        let better = |a: f64, b: f64| if metric.better.is_better(b, a) { b } else { a };
        let Some(best) = rivals.iter().map(|(_, value)| *value).reduce(better) else { continue };
        let winners = || rivals.iter().filter(|(_, value)| *value == best);
        if winners().count() < rivals.len() {
            let part = if split.is_none() { "validation " } else { "" };
            found.extend(winners().map(|(name, _)| (*name, format!("{part}{}", metric.title))));
        }
    }
    found
}

fn measure(stage: &StageReport) -> Option<(Measure<'_>, f64)> {
    let settings = &stage.settings;
    let (metric, value, split) = match &stage.evaluation {
        Some(evaluation) => {
            let (metric, value) = *evaluation.headline.first()?;
            (metric, value, Some(&settings["split"]))
        }
        None => {
            let best = stage.training.as_ref()?.best.as_ref()?;
            let value = |metric: &'static Metric| Some((metric, best.validated(metric.name)?));
            let (monitored, headline) = (monitored(stage), || stage.metrics.first(best.validation.as_ref()?));
            let score = monitored.filter(|metric| metric.better == Direction::Higher).and_then(value);
            let (metric, value) = score.or_else(headline).or_else(|| monitored.and_then(value))?;
            (metric, value, None)
        }
    };
    let loss = (metric.better == Direction::Lower).then(|| &settings["loss"]);
    value.is_finite().then_some((Measure { metric, data: &settings["data"], split, loss }, value))
}

/// The metric that a train stage monitors. A headline has priority over a loss, which is not comparable between stages
/// that weight or smooth it differently.
fn monitored(stage: &StageReport) -> Option<&'static Metric> {
    let name = stage.settings["monitor"].as_str()?;
    stage.metrics.of_epoch(name.strip_prefix("validation/").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::super::data::{BatchNormCounts, ParameterCounts, TrainingMetrics};
    use super::super::history::HistoryRow;
    use super::super::parts::TaskReport;
    use super::*;
    use crate::metrics::{MetricFormat, Scores, TaskMetrics};
    use serde_json::json;

    const LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower);
    const ACCURACY: Metric = Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher);
    const F1: Metric = Metric::new("macro_f1", "macro F1", MetricFormat::Share, Direction::Higher);
    static METRICS: TaskMetrics =
        TaskMetrics { history: &[LOSS, ACCURACY, F1], evaluation: &[ACCURACY], headline: &["accuracy"] };
    static LOSSES: TaskMetrics = TaskMetrics { history: &[LOSS], evaluation: &[], headline: &[] };

    fn train(name: &str, settings: Value, scores: &[(&str, f64)]) -> StageReport {
        let scores: Scores = scores.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let row = HistoryRow {
            epoch: 1,
            lr: 0.1,
            train: Scores::new(),
            validation: Some(scores),
            is_best: true,
            trainable_parameters: None,
            skipped_steps: None,
        };
        let parameters = ParameterCounts {
            trainable_tensors: 1,
            frozen_tensors: 0,
            trainable_parameters: 1,
            frozen_parameters: 0,
            batch_norm: BatchNormCounts { total: 0, train: 0, eval: 0 },
            phases: Vec::new(),
        };
        StageReport {
            name: name.into(),
            kind: "train".into(),
            settings,
            metrics: &METRICS,
            training: Some(TrainingMetrics { best: Some(row.clone()), last: row, parameters }),
            ..StageReport::default()
        }
    }

    fn test(name: &str, split: &str, accuracy: f64) -> StageReport {
        StageReport {
            name: name.into(),
            kind: "evaluate".into(),
            settings: json!({ "split": split }),
            metrics: &METRICS,
            evaluation: Some(TaskReport { headline: vec![(&ACCURACY, accuracy)], parts: Vec::new() }),
            ..StageReport::default()
        }
    }

    fn best(stages: &[StageReport]) -> Vec<(&str, String)> {
        best_stages(stages).into_iter().collect()
    }

    #[test]
    fn stages_that_measure_the_same_are_compared() {
        let monitor = json!({ "monitor": "validation/macro_f1" });
        let stages = [
            train("a", json!({}), &[("accuracy", 0.5), ("loss", 0.1)]),
            train("b", json!({}), &[("accuracy", 0.75), ("loss", 0.9)]),
            test("a_test", "test", 0.875),
            test("b_test", "test", 0.75),
            test("b_validation", "validation", 1.0),
            train("f1", monitor.clone(), &[("accuracy", 0.9), ("macro_f1", 0.25)]),
            train("f2", monitor, &[("accuracy", 0.8), ("macro_f1", 0.5)]),
        ];
        let expected = [("a_test", "accuracy"), ("b", "validation accuracy"), ("f2", "validation macro F1")];
        assert_eq!(best(&stages), expected.map(|(stage, metric)| (stage, metric.to_owned())));
    }

    #[test]
    fn equal_stages_other_images_and_other_losses_have_no_best() {
        let [dogs, cats] = ["dogs", "cats"].map(|data| json!({ "data": data }));
        let accuracy = |value| [("accuracy", value)];
        assert!(
            best(&[train("a", dogs.clone(), &accuracy(0.5)), train("b", cats, &accuracy(0.6))]).is_empty()
        );
        assert!(
            best(&[train("a", dogs.clone(), &accuracy(0.5)), train("b", dogs, &accuracy(0.5))]).is_empty()
        );
        assert!(best(&[test("only", "test", 0.5), test("nan", "test", f64::NAN)]).is_empty());
        let loss = |name: &str, loss: Value, value| StageReport {
            metrics: &LOSSES,
            ..train(name, json!({ "monitor": "validation/loss", "loss": loss }), &[("loss", value)])
        };
        let [plain, smooth] = [json!({ "kind": "ce" }), json!({ "kind": "ce", "smoothing": 0.1 })];
        assert!(best(&[loss("a", plain.clone(), 0.5), loss("b", smooth, 0.25)]).is_empty());
        let stages = [loss("a", plain.clone(), 0.5), loss("b", plain, 0.25)];
        assert_eq!(best(&stages), [("b", "validation loss".to_owned())]);
    }
}
