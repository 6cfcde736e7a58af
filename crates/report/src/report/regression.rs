//! Train stages that are worse than their starting weights, and the likely causes.

use serde_json::Value;

use super::data::{StageReport, TrainingMetrics};
use super::history::HistoryRow;
use super::text::{shortest, value_text};
use crate::metrics::{Direction, Metric};

/// The excess of a training score over the validation score from which overfitting is reported as a cause.
const OVERFITTING: f64 = 0.15;

/// A train stage whose best epoch is worse than its starting weights, by the metric that it monitors.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    pub stage: String,
    /// The train stage that provided the starting weights.
    pub source: String,
    /// The validation metric of both stages.
    pub metric: &'static Metric,
    /// The metric of its starting weights, and of its own best epoch.
    pub before: f64,
    pub after: f64,
    /// The likely causes, the most likely first, each with a suggestion.
    pub causes: Vec<String>,
}

impl Regression {
    /// Compares the metrics files of both stages. Returns `None` if the stage is at least as good as its source. Also
    /// returns `None` if one of them is unfinished or has no validation, or if their images or losses differ.
    pub fn of(stage: &StageReport, stages: &[StageReport]) -> Option<Self> {
        let (name, checkpoint) = stage.from()?.split_once('@')?;
        let source = stages.iter().find(|source| source.name == name)?;
        let (trained, training) = (source.training.as_ref()?, stage.training.as_ref()?);
        if source.settings["data"] != stage.settings["data"] {
            return None;
        }
        let before = if checkpoint == "best" { trained.best.as_ref()? } else { &trained.last };
        let after = training.best.as_ref()?;
        let metric = compared(stage, source, after)?;
        let (was, is) = (before.validated(metric.name)?, after.validated(metric.name)?);
        metric.better.is_better(was, is).then(|| Self {
            stage: stage.name.clone(),
            source: source.name.clone(),
            metric,
            before: was,
            after: is,
            causes: causes(stage, source, training, trained),
        })
    }

    /// All declines of a run, in the order of its stages.
    pub fn all(stages: &[StageReport]) -> Vec<Self> {
        stages.iter().filter_map(|stage| Self::of(stage, stages)).collect()
    }

    /// `below `frozen`: validation accuracy 59.3 % after 72.7 %`.
    pub fn headline(&self) -> String {
        let direction = match self.metric.better {
            Direction::Higher => "below",
            Direction::Lower => "worse than",
        };
        let [after, before] = [self.after, self.before].map(|value| value_text(self.metric.format, value));
        format!("{direction} `{}`: validation {} {after} after {before}", self.source, self.metric.title)
    }
}

/// The metric that compares two stages: the one that the stage monitors, or its headline if the losses differ.
fn compared(stage: &StageReport, source: &StageReport, row: &HistoryRow) -> Option<&'static Metric> {
    let monitor = stage.settings["monitor"].as_str().unwrap_or("validation/loss");
    let monitored = stage.metrics.of_epoch(monitor.strip_prefix("validation/").unwrap_or(monitor));
    let same_loss = stage.settings["loss"] == source.settings["loss"];
    let comparable = |metric: &&Metric| metric.better == Direction::Higher || same_loss;
    let headline = || Some(stage.metrics.first(row.validation.as_ref()?)?.0);
    monitored.filter(comparable).or_else(headline)
}

fn causes(
    stage: &StageReport,
    source: &StageReport,
    now: &TrainingMetrics,
    before: &TrainingMetrics,
) -> Vec<String> {
    let mut causes = Vec::new();
    let switched = now.parameters.batch_norm.train.saturating_sub(before.parameters.batch_norm.train);
    if switched > 0 {
        causes.push(format!(
            "{switched} BatchNorm layers use batch statistics instead of running statistics: try `batch_norm = \"eval\"`"
        ));
    }
    let rate = |stage: &StageReport| stage.settings["optimizer"]["lr"].as_f64();
    if let (Some(own), Some(of_source)) = (rate(stage), rate(source))
        && own >= of_source
    {
        let (own, of_source) = (shortest(own), shortest(of_source));
        causes.push(format!(
            "its learning rate, {own}, is not below that of `{}`, {of_source}: try a tenth of it",
            source.name
        ));
    } else if now.best.as_ref().is_some_and(|best| best.epoch == 1) && now.last.epoch > 1 {
        causes.push("its first epoch was its best: try a lower learning rate, or `warmup_epochs`".to_owned());
    }
    let best = now.best.as_ref().unwrap_or(&now.last);
    let of_both = |metric: &'static Metric| {
        let trained = *best.train.get(metric.name)?;
        Some((metric, trained, trained - best.validated(metric.name)?))
    };
    let of_both = stage.metrics.headlines().find_map(of_both);
    if let Some((metric, trained, gap)) = of_both
        && gap > OVERFITTING
    {
        causes.push(format!(
            "it overfits: training {} is {}; train fewer layers, or add `augment` and `weight_decay`",
            metric.title,
            value_text(metric.format, trained)
        ));
    }
    if best.epoch == now.last.epoch && now.last.epoch > 1 {
        causes.push("its last epoch was its best: it may need more `epochs`".to_owned());
    }
    // Augmented images that are harder than the validation images.
    if of_both.is_some_and(|(_, _, gap)| gap < 0.0) && !is_empty(&stage.settings["augment"]) {
        causes.push("its training images are harder than the others: try a weaker `augment`".to_owned());
    }
    causes
}

fn is_empty(settings: &Value) -> bool {
    settings.is_null() || settings.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use super::super::data::{BatchNormCounts, ParameterCounts};
    use super::*;
    use crate::metrics::{MetricFormat, TaskMetrics};
    use serde_json::json;

    static METRICS: TaskMetrics = TaskMetrics {
        history: &[
            Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower).in_training(),
            Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).in_training(),
        ],
        evaluation: &[],
        headline: &["accuracy"],
    };

    fn stage(name: &str, from: &str, lr: f64, accuracy: f64, norms: u64) -> StageReport {
        let row = HistoryRow {
            epoch: 1,
            lr,
            train: [("loss".to_owned(), 0.1), ("accuracy".to_owned(), 0.95)].into(),
            validation: Some([("loss".to_owned(), 1.0 - accuracy), ("accuracy".to_owned(), accuracy)].into()),
            is_best: true,
            trainable_parameters: None,
            skipped_steps: None,
        };
        let parameters = ParameterCounts {
            trainable_tensors: 2,
            frozen_tensors: 0,
            trainable_parameters: 2,
            frozen_parameters: 0,
            batch_norm: BatchNormCounts { total: 49, train: norms, eval: 49 - norms },
            phases: Vec::new(),
        };
        let last = HistoryRow { epoch: 5, is_best: false, ..row.clone() };
        StageReport {
            name: name.into(),
            kind: "train".into(),
            settings: json!({"from": from, "monitor": "validation/accuracy", "optimizer": {"lr": lr}}),
            metrics: &METRICS,
            training: Some(TrainingMetrics { best: Some(row), last, parameters }),
            ..StageReport::default()
        }
    }

    #[test]
    fn a_stage_below_its_source_is_found_with_its_causes() {
        let stages =
            [stage("frozen", "net", 1e-3, 0.727, 0), stage("finetune", "frozen@best", 1e-3, 0.593, 49)];
        let declines = Regression::all(&stages);
        assert_eq!(declines.len(), 1);
        assert_eq!(
            declines[0].headline(),
            "below `frozen`: validation accuracy 59.3\u{a0}% after 72.7\u{a0}%"
        );
        let causes = declines[0].causes.join("\n");
        for expected in ["49 BatchNorm layers", "1e-3, is not below", "it overfits"] {
            assert!(causes.contains(expected), "{causes}");
        }
    }

    #[test]
    fn a_stage_as_good_as_its_source_and_one_on_other_data_are_not() {
        let source = stage("frozen", "net", 1e-3, 0.727, 0);
        let equal = stage("finetune", "frozen@best", 1e-4, 0.727, 0);
        assert_eq!(Regression::all(&[source.clone(), equal]), []);
        let mut other = stage("finetune", "frozen@best", 1e-4, 0.5, 0);
        other.settings["data"] = json!("other");
        assert_eq!(Regression::all(&[source.clone(), other.clone()]), []);
        // Losses of different kinds are not compared; accuracies are.
        other.settings = json!({"from": "frozen@best", "loss": {"kind": "focal"}, "optimizer": {"lr": 1e-4}});
        assert_eq!(Regression::all(&[source, other])[0].metric.name, "accuracy");
    }
}
