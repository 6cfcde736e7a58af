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
use crate::metrics::{ClassificationMetrics, TaskMetrics};
use crate::model::Outputs;
use crate::ops;
use crate::pipeline::{Data, Head, LabelKind};
use crate::report;
use crate::task::interface::rows;
use crate::task::{
    Analysis, Annotations, EvaluatedImages, Evaluator, MeasuredImages, OutputDescription, Predictions,
    Subset, Task, TaskFile, TaskProblem, TaskSpec,
};
use crate::train::{self, BatchLoss, Scores};

pub struct Classification {
    classes: Vec<String>,
    losses: ClassLosses,
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

    fn loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        targets: &ClassTargets,
    ) -> Result<BatchLoss<ClassificationStats>> {
        self.losses.of(tape, outputs.logits()?, targets)
    }

    fn update(&self, meter: &mut ClassificationMetrics, stats: ClassificationStats) -> Result<()> {
        let (scores, losses) = (stats.scores.wait()?, stats.losses.wait()?);
        match &stats.weights {
            Some(weights) => meter.update_weighted(&scores, &stats.labels, &losses, weights),
            None => meter.update(&scores, &stats.labels, &losses),
        }
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
        Self { classes: spec.classes.to_vec(), losses: ClassLosses::new(spec) }
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

    fn describe(&self, probabilities: &Vec<f32>) -> OutputDescription {
        predictions::describe(&self.classes, probabilities)
    }

    fn new_images_files(&self, predictions: &[(String, Vec<f32>)]) -> Result<Vec<TaskFile>> {
        Ok(vec![predictions::new_images_file(&self.classes, predictions)])
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

    /// The accuracy of subsets.
    fn analysis(
        &self,
        _: &str,
        _: &ClassificationMetrics,
        predictions: &Predictions<Self>,
        subsets: &[Subset],
    ) -> Result<Analysis> {
        let mut analysis = Analysis::default();
        if !subsets.is_empty() {
            let scores = subsets::of_evaluation(predictions, subsets)?;
            analysis.fields.insert("subsets".to_owned(), json!(scores));
            analysis.files.push(subsets::file(&scores));
        }
        Ok(analysis)
    }

    fn ensemble(self, images: EvaluatedImages) -> Result<Box<dyn Evaluator>> {
        Ok(Box::new(AveragedModels::new(self, images)))
    }
}
