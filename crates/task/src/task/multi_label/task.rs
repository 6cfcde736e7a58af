//! The multi-label task: binary cross-entropy for each label, measured by the multi-label metrics.

use serde_json::{Value as Json, json};

use super::{METRICS, predictions, targets};
use crate::autograd::Tape;
use crate::code_path::CodePath;
use crate::data::{Sample, Split};
use crate::error::Result;
use crate::metrics::code_paths::MULTI_LABEL;
use crate::metrics::probabilities::Truths;
use crate::metrics::{MultiLabelMetrics, TaskMetrics};
use crate::model::Outputs;
use crate::ops::code_paths::{BINARY_CROSS_ENTROPY, SIGMOID};
use crate::ops::{self, Deferred};
use crate::pipeline::{ClassWeights, Data, Head, LabelKind, LossWeights};
use crate::report;
use crate::task::interface::rows;
use crate::task::merged_predictions::{MergedPredictions, mean_probabilities};
use crate::task::readings::{columns, flags, floats, widened};
use crate::task::{
    Analysis, Annotations, BoxThresholds, Decisions, EvaluatedImages, EvaluatedPredictions, Evaluator,
    InputObjects, MeasuredImages, OutputDescription, OutputForm, Predictions, Task, TaskFile, TaskProblem,
    TaskSpec, class_weights, monitors_ranking, probabilities,
};
use crate::train::{self, BatchLoss, Readings, Scores};

/// The field of a recipe's model that is `true` for this task.
pub(super) const RECIPE_FIELD: &str = "multi_label";

pub struct MultiLabel {
    labels: Vec<String>,
    positive_weights: Option<Vec<f64>>,
    /// Whether the area under ROC curves is measured in validations.
    ranks: bool,
    /// For new images.
    decisions: Decisions,
}

/// The values that the meter accumulates for a batch.
pub struct MultiLabelStats {
    probabilities: Deferred<f32>,
    truths: Vec<bool>,
    losses: Deferred<f64>,
}

/// The weights of a train stage's loss, if it has any.
fn weights<'a>(spec: &TaskSpec<'a>) -> Option<&'a ClassWeights> {
    match spec.training?.settings.loss.settings().weights() {
        Some(LossWeights::OfPositives(weights)) => Some(weights),
        _ => None,
    }
}

impl train::TrainTask for MultiLabel {
    /// [N, K] in row-major order.
    type Targets = Vec<f32>;
    type Meter = MultiLabelMetrics;
    type BatchStats = MultiLabelStats;

    fn metrics(&self) -> &'static TaskMetrics {
        &METRICS
    }

    fn meter(&self) -> MultiLabelMetrics {
        MultiLabelMetrics::new(self.labels.len(), false)
    }

    fn validation_meter(&self) -> MultiLabelMetrics {
        MultiLabelMetrics::new(self.labels.len(), true)
    }

    fn finalize(&self, meter: MultiLabelMetrics) -> MultiLabelMetrics {
        meter.finalize()
    }

    fn loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        targets: &Vec<f32>,
    ) -> Result<BatchLoss<MultiLabelStats>> {
        let (output, weights) = (outputs.logits()?, self.positive_weights.as_deref());
        let (mean, losses) = ops::binary_cross_entropy(tape, output, targets, weights)?;
        let probabilities = Deferred::from_tensor(&ops::sigmoid(output.tensor())?)?;
        // A mixed image counts as having a label if the label's share is at least one half.
        let truths = targets.iter().map(|share| *share >= 0.5).collect();
        // Label weights do not change the denominator of the mean, as with PyTorch's `pos_weight`.
        let weight = output.tensor().dim(0)? as f64;
        Ok(BatchLoss { mean, weight, stats: MultiLabelStats { probabilities, truths, losses } })
    }

    fn update(&self, meter: &mut MultiLabelMetrics, stats: MultiLabelStats) -> Result<()> {
        meter.update(&stats.probabilities.wait()?, &stats.truths, &stats.losses.wait()?)
    }

    fn pack(&self, _: &MultiLabelMetrics, stats: MultiLabelStats) -> Result<Readings> {
        let MultiLabelStats { probabilities, truths, losses } = stats;
        let truths = truths.into_iter().map(u8::from);
        Ok(vec![widened(probabilities.wait()?), widened(truths), losses.wait()?])
    }

    fn unpack(&self, readings: Readings) -> Result<MultiLabelStats> {
        let [probabilities, truths, losses] = columns(readings)?;
        let (probabilities, losses) = (Deferred::ready(floats(probabilities)), Deferred::ready(losses));
        Ok(MultiLabelStats { probabilities, truths: flags(truths), losses })
    }

    fn progress(&self, meter: &MultiLabelMetrics) -> Scores {
        Scores::from([("loss".to_owned(), meter.loss()), ("accuracy".to_owned(), meter.accuracy())])
    }

    fn scores(&self, meter: &MultiLabelMetrics) -> Scores {
        let mut scores = self.progress(meter);
        if let Ok(all) = meter.finish(&self.labels) {
            scores.insert("macro_f1".to_owned(), all.macro_f1);
            scores.extend(all.map.map(|map| ("map".to_owned(), map)));
        }
        if self.ranks {
            scores.extend(meter.auc().map(|auc| ("auc".to_owned(), auc)));
        }
        scores
    }
}

impl Task for MultiLabel {
    /// The probability of each label, [K].
    type Prediction = Vec<f32>;

    const ANNOTATION: &'static str = "multi-label images";

    const OUTPUT_FORM: OutputForm = OutputForm::Independent;

    const RECIPE_FIELD: Option<&'static str> = Some(RECIPE_FIELD);

    fn accepts(data: &Data, _: &Head) -> bool {
        data.label_kind() == LabelKind::Labels
    }

    fn new(spec: &TaskSpec) -> Self {
        let dataset = spec.training.and_then(|training| training.dataset);
        let (with, images) = match dataset {
            Some(dataset) => {
                let with = dataset.counts().iter().map(|counts| counts[Split::Train as usize]).collect();
                (with, dataset.split(Split::Train).len())
            }
            None => (vec![1; spec.classes.len()], 2),
        };
        let resolve = |weights: &ClassWeights| weights.resolve_positive(spec.classes, &with, images);
        Self {
            labels: spec.classes.to_vec(),
            positive_weights: weights(spec).map(resolve),
            ranks: monitors_ranking(spec),
            decisions: Decisions::default(),
        }
    }

    fn check(&self, spec: &TaskSpec) -> Result<(), TaskProblem> {
        let dataset = spec.training.and_then(|training| training.dataset);
        class_weights::check(spec, weights(spec), "positive_weights", dataset)
    }

    fn code_paths(&self, _: bool) -> Vec<CodePath> {
        vec![BINARY_CROSS_ENTROPY, SIGMOID]
    }

    fn metric_code_paths(&self, _: &MeasuredImages) -> Vec<CodePath> {
        vec![MULTI_LABEL]
    }

    fn targets(&self, annotations: &Annotations) -> Result<Vec<f32>> {
        Ok(targets::of(annotations, self.labels.len()))
    }

    fn synthetic_targets(&self, rows: usize) -> Vec<f32> {
        vec![0.0; rows * self.labels.len()]
    }

    fn first(&self, targets: &Vec<f32>, rows: usize) -> Vec<f32> {
        targets[..rows * self.labels.len()].to_vec()
    }

    fn predict(&self, outputs: &Outputs, _: &Annotations) -> Result<Vec<Vec<f32>>> {
        rows(&ops::sigmoid(outputs.logits()?.tensor())?)
    }

    fn deciding(self, decisions: Decisions) -> Self {
        Self { decisions, ..self }
    }

    fn merged(&self, predictions: Vec<Vec<f32>>, _: &[InputObjects], _: &BoxThresholds) -> Result<Vec<f32>> {
        Ok(mean_probabilities(predictions))
    }

    /// The loss of an image is that of the mean probabilities.
    fn measured(
        &self,
        _: MultiLabelMetrics,
        predictions: &[(&Sample, &Vec<f32>)],
    ) -> Result<MultiLabelMetrics> {
        let mut meter = train::TrainTask::validation_meter(self);
        for (sample, probabilities) in predictions {
            let truths: Vec<bool> =
                self.targets(&Annotations::of([*sample]))?.iter().map(|target| *target >= 0.5).collect();
            let loss = mean_binary_cross_entropy(probabilities, &truths);
            meter.update(probabilities, &truths, &[loss])?;
        }
        Ok(meter.finalize())
    }

    fn corrected(&self, probabilities: Vec<f32>) -> Vec<f32> {
        let truths = Truths::Labels(vec![false; probabilities.len()]);
        self.decisions.corrected(probabilities, truths)
    }

    fn describe(&self, probabilities: &Vec<f32>) -> OutputDescription {
        predictions::describe(&self.labels, probabilities, &self.decisions)
    }

    fn new_images_files(&self, predictions: &[(String, Vec<f32>)]) -> Result<Vec<TaskFile>> {
        Ok(vec![predictions::new_images_file(&self.labels, predictions, &self.decisions)])
    }

    fn predictions_files(&self, predictions: Predictions<Self>) -> Result<Vec<TaskFile>> {
        Ok(vec![predictions::file(&self.labels, predictions)])
    }

    fn document(&self, meter: &MultiLabelMetrics) -> Result<Json> {
        Ok(json!(meter.finish(&self.labels)?))
    }

    /// A row for each label. Labels are predicted independently, so there is no confusion between them.
    fn files(&self, _: &str, meter: &MultiLabelMetrics) -> Result<Vec<TaskFile>> {
        Ok(vec![TaskFile::new("labels.csv", report::labels_csv(&meter.finish(&self.labels)?))])
    }
    /// What the probabilities say.
    fn analysis(&self, evaluated: &EvaluatedPredictions<Self>) -> Result<Analysis> {
        probabilities::of_evaluation(&self.labels, evaluated)
    }

    fn analysis_code_paths(&self) -> Vec<CodePath> {
        probabilities::CODE_PATHS.to_vec()
    }

    fn ensemble(self, images: EvaluatedImages) -> Result<Box<dyn Evaluator>> {
        Ok(Box::new(MergedPredictions::new(self, images)))
    }
}

/// The binary cross-entropy of label probabilities, as a mean over labels. Logarithms are at least −100, as in PyTorch's
/// `BCELoss`.
fn mean_binary_cross_entropy(probabilities: &[f32], truths: &[bool]) -> f64 {
    let loss = |(probability, truth): (&f32, &bool)| {
        let probability = f64::from(*probability);
        -libm::log(if *truth { probability } else { 1.0 - probability }).max(-100.0)
    };
    probabilities.iter().zip(truths).map(loss).sum::<f64>() / truths.len().max(1) as f64
}
