//! The classification task: a loss on class scores, measured by the classification metrics.

use serde_json::{Value as Json, json};

use super::ensemble::AveragedModels;
use super::loss::{ClassLosses, ClassificationStats};
use super::targets::ClassTargets;
use super::{METRICS, predictions, subsets};
use crate::autograd::{Tape, Value};
use crate::code_path::CodePath;
use crate::data::Dataset;
use crate::error::Result;
use crate::metrics::code_paths::{ABSENT_CLASSES, CLASSIFICATION, ENSEMBLE};
use crate::metrics::probabilities::Truths;
use crate::metrics::{ClassificationMetrics, TaskMetrics};
use crate::model::Outputs;
use crate::ops::{self, Deferred};
use crate::pipeline::{Data, Head, LabelKind};
use crate::report;
use crate::task::interface::rows;
use crate::task::merged_predictions::mean_probabilities;
use crate::task::readings::{columns, floats, indices, optional, widened};
use crate::task::{
    Analysis, Annotations, BoxThresholds, Decisions, EvaluatedImages, EvaluatedPredictions, Evaluator,
    InputObjects, MeasuredImages, OutputDescription, Predictions, Task, TaskFile, TaskProblem, TaskSpec,
    monitors_ranking, probabilities,
};
use crate::train::{self, BatchLoss, Readings, Scores};

pub struct Classification {
    classes: Vec<String>,
    losses: ClassLosses,
    /// Whether the monitored metric is one of rankings, which need the probabilities of all validation images.
    ranks: bool,
    /// For new images.
    decisions: Decisions,
}

impl train::TrainTask for Classification {
    type Targets = ClassTargets;
    type Meter = ClassificationMetrics;
    type BatchStats = ClassificationStats;

    fn metrics(&self) -> &'static TaskMetrics {
        &METRICS
    }

    fn meter(&self) -> ClassificationMetrics {
        ClassificationMetrics::new(self.classes.len())
    }

    fn validation_meter(&self) -> ClassificationMetrics {
        match self.ranks {
            true => ClassificationMetrics::ranked(self.classes.len()),
            false => self.meter(),
        }
    }

    fn finalize(&self, meter: ClassificationMetrics) -> ClassificationMetrics {
        meter.finalize()
    }

    fn loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        targets: &ClassTargets,
    ) -> Result<BatchLoss<ClassificationStats>> {
        let logits = outputs.logits()?;
        let mut loss = self.losses.of(tape, logits, targets)?;
        if self.ranks {
            loss.stats.probabilities = Some(Deferred::from_tensor(&ops::softmax(logits.tensor())?)?);
        }
        Ok(loss)
    }

    fn update(&self, meter: &mut ClassificationMetrics, stats: ClassificationStats) -> Result<()> {
        let (scores, losses) = (stats.scores.wait()?, stats.losses.wait()?);
        if let Some(probabilities) = stats.probabilities {
            meter.rank(&probabilities.wait()?, &stats.labels);
        }
        match &stats.weights {
            Some(weights) => meter.update_weighted(&scores, &stats.labels, &losses, weights),
            None => meter.update(&scores, &stats.labels, &losses),
        }
    }

    fn pack(&self, _: &ClassificationMetrics, stats: ClassificationStats) -> Result<Readings> {
        let probabilities = stats.probabilities.map(|probabilities| probabilities.wait()).transpose()?;
        Ok(vec![
            widened(stats.scores.wait()?),
            widened(stats.labels),
            stats.losses.wait()?,
            stats.weights.unwrap_or_default(),
            widened(probabilities.unwrap_or_default()),
        ])
    }

    fn unpack(&self, readings: Readings) -> Result<ClassificationStats> {
        let [scores, labels, losses, weights, probabilities] = columns(readings)?;
        Ok(ClassificationStats {
            scores: Deferred::ready(floats(scores)),
            labels: indices(labels),
            losses: Deferred::ready(losses),
            weights: optional(weights),
            probabilities: optional(probabilities).map(|column| Deferred::ready(floats(column))),
        })
    }

    /// The meter measures the label loss alone, without distillation, so that training and validation losses are
    /// comparable.
    fn distillation_loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        teacher: &Outputs,
        _: Option<&mut ClassificationStats>,
    ) -> Result<Value> {
        self.losses.distillation(tape, outputs.logits()?, teacher.logits()?)
    }

    fn distillation_shares(&self) -> [f64; 2] {
        self.losses.distillation_shares()
    }

    fn progress(&self, meter: &ClassificationMetrics) -> Scores {
        Scores::from([("loss".to_owned(), meter.loss()), ("accuracy".to_owned(), meter.accuracy())])
    }

    fn scores(&self, meter: &ClassificationMetrics) -> Scores {
        let mut scores = self.progress(meter);
        if let Ok(all) = meter.finish(&self.classes) {
            scores.insert("macro_f1".to_owned(), all.macro_f1);
        }
        if let Some([auc, map]) = meter.ranking_scores() {
            scores.extend([("auc".to_owned(), auc), ("map".to_owned(), map)]);
        }
        scores
    }
}

impl Task for Classification {
    /// The probability of each class, [K].
    type Prediction = Vec<f32>;

    const ANNOTATION: &'static str = "one class per image";

    const RECIPE_FIELD: Option<&'static str> = None;

    fn accepts(data: &Data, _: &Head) -> bool {
        data.label_kind() == LabelKind::Class
    }

    fn new(spec: &TaskSpec) -> Self {
        Self {
            classes: spec.classes.to_vec(),
            losses: ClassLosses::new(spec),
            ranks: monitors_ranking(spec),
            decisions: Decisions::default(),
        }
    }

    fn check(&self, spec: &TaskSpec) -> Result<(), TaskProblem> {
        self.losses.check(spec)
    }

    fn code_paths(&self, mixes: bool) -> Vec<CodePath> {
        self.losses.code_paths(mixes)
    }

    fn metric_code_paths(&self, measured: &MeasuredImages) -> Vec<CodePath> {
        let counts = measured.dataset.map(Dataset::counts).unwrap_or_default();
        let images: Vec<usize> = counts.iter().map(|class| class[measured.split as usize]).collect();
        // An unreadable image may be the last one of its class.
        let lacks_one = measured.skips_broken || images.contains(&0);
        let mut paths = vec![CLASSIFICATION];
        paths.extend((lacks_one && images.iter().any(|images| *images > 0)).then_some(ABSENT_CLASSES));
        paths.extend((measured.models > 1).then_some(ENSEMBLE));
        paths
    }

    fn targets(&self, annotations: &Annotations) -> Result<ClassTargets> {
        Ok(ClassTargets::of(annotations))
    }

    fn synthetic_targets(&self, rows: usize) -> ClassTargets {
        ClassTargets::Classes((0..rows).map(|row| (row % self.classes.len()) as u32).collect())
    }

    fn first(&self, targets: &ClassTargets, rows: usize) -> ClassTargets {
        targets.first(rows)
    }

    fn predict(&self, outputs: &Outputs, _: &Annotations) -> Result<Vec<Vec<f32>>> {
        rows(&ops::softmax(outputs.logits()?.tensor())?)
    }

    fn deciding(self, decisions: Decisions) -> Self {
        Self { decisions, ..self }
    }

    fn merged(&self, predictions: Vec<Vec<f32>>, _: &[InputObjects], _: &BoxThresholds) -> Result<Vec<f32>> {
        Ok(mean_probabilities(predictions))
    }

    fn corrected(&self, probabilities: Vec<f32>) -> Vec<f32> {
        self.decisions.corrected(probabilities, Truths::Classes(vec![0]))
    }

    fn describe(&self, probabilities: &Vec<f32>) -> OutputDescription {
        predictions::describe(&self.classes, probabilities, &self.decisions)
    }

    fn new_images_files(&self, predictions: &[(String, Vec<f32>)]) -> Result<Vec<TaskFile>> {
        Ok(vec![predictions::new_images_file(&self.classes, predictions, &self.decisions)])
    }

    fn predictions_files(&self, predictions: Predictions<Self>) -> Result<Vec<TaskFile>> {
        Ok(vec![predictions::file(&self.classes, predictions)])
    }

    fn document(&self, meter: &ClassificationMetrics) -> Result<Json> {
        Ok(json!(meter.finish(&self.classes)?))
    }

    /// The confusion matrix, as numbers and as figures.
    fn files(&self, stage: &str, meter: &ClassificationMetrics) -> Result<Vec<TaskFile>> {
        let metrics = meter.finish(&self.classes)?;
        let picture = report::confusion_matrix(stage, &metrics);
        Ok(vec![
            TaskFile::new("confusion_matrix.csv", report::confusion_csv(&metrics)),
            TaskFile::new("confusion_matrix.svg", picture.document()),
            TaskFile::new("confusion_matrix.png", report::png(&picture)?),
        ])
    }

    /// What the probabilities say, and the accuracy of subsets.
    fn analysis(&self, evaluated: &EvaluatedPredictions<Self>) -> Result<Analysis> {
        let mut analysis = probabilities::of_evaluation(&self.classes, evaluated)?;
        let subsets = &evaluated.images.subsets;
        if !subsets.is_empty() {
            let scores = subsets::of_evaluation(&evaluated.predictions, subsets)?;
            analysis.fields.insert("subsets".to_owned(), json!(scores));
            analysis.files.push(subsets::file(&scores));
        }
        Ok(analysis)
    }

    fn analysis_code_paths(&self) -> Vec<CodePath> {
        probabilities::CODE_PATHS.to_vec()
    }

    fn ensemble(self, images: EvaluatedImages) -> Result<Box<dyn Evaluator>> {
        Ok(Box::new(AveragedModels::new(self, images)))
    }
}
