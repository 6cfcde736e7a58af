//! The task of metric learning: its losses and its scores.

use std::convert::Infallible;

use candle_core::{Device, Tensor};
use serde_json::{Value as Json, json};

use super::METRICS;
use super::meter::{MetricMeter, ValidationEmbeddings, ValidationScores};
use crate::autograd::{Tape, Value};
use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::metrics::code_paths::IDENTIFICATION;
use crate::metrics::{Embeddings, IdentificationMetrics, TaskMetrics};
use crate::model::{EMBEDDINGS, Outputs};
use crate::ops::code_paths::{SUPCON, TRIPLET};
use crate::ops::{self, AnchorStatistics, Deferred, MetricLoss, TripletMargin};
use crate::pipeline::{Data, Head, Loss};
use crate::task::readings::{columns, floats, indices, widened};
use crate::task::{
    Annotations, MeasuredImages, OutputDescription, OutputForm, Predictions, Task, TaskFile, TaskProblem,
    TaskSpec,
};
use crate::train::{self, BatchLoss, Readings, Scores};

/// The field of a recipe's model that is `true` for this task.
pub(super) const RECIPE_FIELD: &str = "metric_learning";

pub struct MetricLearning {
    /// `None` of a model that does not train here.
    loss: Option<Loss>,
}

/// The input of the meter.
pub struct MetricStats {
    statistics: AnchorStatistics,
    embeddings: Deferred<f32>,
    classes: Vec<u32>,
}

impl MetricLearning {
    /// The loss of embeddings [N, D] with these classes.
    fn of_rows(&self, tape: &mut Tape, embeddings: &Value, classes: &[u32]) -> Result<MetricLoss> {
        match &self.loss {
            Some(Loss::Triplet(loss)) => {
                let margin = loss.margin().map_or(TripletMargin::Soft, TripletMargin::Hard);
                ops::triplet(tape, embeddings, classes, margin)
            }
            None => ops::triplet(tape, embeddings, classes, TripletMargin::Soft),
            Some(Loss::Supcon(loss)) => ops::supcon(tape, embeddings, classes, loss.temperature),
            // Validation refuses every other loss.
            _ => Err(Error::bug("a loss that does not compare embeddings")),
        }
    }

    /// Compares all images of a validation with one another.
    fn compared(&self, embedded: ValidationEmbeddings) -> Result<ValidationScores> {
        let ValidationEmbeddings { rows, classes } = embedded;
        let dimension = rows.len() / classes.len().max(1);
        let tensor = Tensor::from_slice(&rows, (classes.len(), dimension), &Device::Cpu)?;
        let statistics = self.of_rows(&mut Tape::new(), &Value::constant(tensor), &classes)?.statistics;
        let found = IdentificationMetrics::search_within(&Embeddings::new(rows, dimension, classes)?)?;
        Ok(ValidationScores { statistics, rank1: found.rank1, map: found.mean_average_precision })
    }
}

impl train::TrainTask for MetricLearning {
    /// The class of each row.
    type Targets = Vec<u32>;
    type Meter = MetricMeter;
    type BatchStats = MetricStats;

    fn metrics(&self) -> &'static TaskMetrics {
        &METRICS
    }

    fn meter(&self) -> MetricMeter {
        MetricMeter::default()
    }

    fn validation_meter(&self) -> MetricMeter {
        MetricMeter::of_validation()
    }

    /// Embeddings that cannot be compared, such as those of weights that diverged, have no scores.
    fn finalize(&self, mut meter: MetricMeter) -> MetricMeter {
        match meter.validation.take() {
            None => meter,
            Some(embedded) => match self.compared(embedded) {
                Ok(scores) => MetricMeter::finished(&scores),
                Err(_) => MetricMeter::default(),
            },
        }
    }

    fn loss(&self, tape: &mut Tape, outputs: &Outputs, classes: &Vec<u32>) -> Result<BatchLoss<MetricStats>> {
        let rows = outputs.get(EMBEDDINGS)?;
        let embeddings = Deferred::from_tensor(rows.tensor())?;
        let MetricLoss { mean, statistics } = self.of_rows(tape, rows, classes)?;
        let stats = MetricStats { statistics, embeddings, classes: classes.clone() };
        Ok(BatchLoss { mean, weight: statistics.denominator(), stats })
    }

    fn update(&self, meter: &mut MetricMeter, stats: MetricStats) -> Result<()> {
        match &mut meter.validation {
            None => meter.add(&stats.statistics),
            Some(embedded) => {
                embedded.rows.extend(stats.embeddings.wait()?);
                embedded.classes.extend(stats.classes);
            }
        }
        Ok(())
    }

    fn pack(&self, meter: &MetricMeter, stats: MetricStats) -> Result<Readings> {
        let MetricStats { statistics: AnchorStatistics { anchors, loss, matched }, embeddings, classes } =
            stats;
        // Training counts only the statistics.
        let embeddings = if meter.validation.is_some() { embeddings.wait()? } else { Vec::new() };
        Ok(vec![vec![anchors, loss, matched], widened(embeddings), widened(classes)])
    }

    fn unpack(&self, readings: Readings) -> Result<MetricStats> {
        let [statistics, embeddings, classes] = columns(readings)?;
        let [anchors, loss, matched] =
            statistics[..].try_into().map_err(|_| Error::bug("other statistics of anchors"))?;
        Ok(MetricStats {
            statistics: AnchorStatistics { anchors, loss, matched },
            embeddings: Deferred::ready(floats(embeddings)),
            classes: indices(classes),
        })
    }

    fn progress(&self, meter: &MetricMeter) -> Scores {
        meter.scores()
    }

    fn scores(&self, meter: &MetricMeter) -> Scores {
        meter.scores()
    }
}

impl Task for MetricLearning {
    /// There is none: an embedding says nothing about one image.
    type Prediction = Infallible;

    const ANNOTATION: &'static str = "embeddings that are compared by class";

    const PREDICTS: bool = false;

    const OUTPUT_FORM: OutputForm = OutputForm::Embeddings;

    const RECIPE_FIELD: Option<&'static str> = Some(RECIPE_FIELD);

    fn accepts(_: &Data, head: &Head) -> bool {
        head.compares_embeddings()
    }

    fn new(spec: &TaskSpec) -> Self {
        Self { loss: spec.training.map(|training| training.settings.loss.clone()) }
    }

    /// A validation compares its images, so some class must have two of them.
    fn check(&self, spec: &TaskSpec) -> Result<(), TaskProblem> {
        let Some(dataset) = spec.training.and_then(|training| training.dataset) else { return Ok(()) };
        let images = dataset.counts().into_iter().map(|parts| parts[Split::Validation as usize]);
        match images.max() {
            Some(1) => Err(TaskProblem {
                setting: "data".to_owned(),
                code: "no-validation",
                message: "no class has two validation images, so none can be compared".to_owned(),
                help: Some("hold out more images: raise `split.validation`".to_owned()),
            }),
            _ => Ok(()),
        }
    }

    fn code_paths(&self, _: bool) -> Vec<CodePath> {
        match &self.loss {
            Some(Loss::Triplet(_)) => vec![TRIPLET],
            Some(Loss::Supcon(_)) => vec![SUPCON],
            _ => Vec::new(),
        }
    }

    fn metric_code_paths(&self, measured: &MeasuredImages) -> Vec<CodePath> {
        let images = measured.dataset.map_or(0, |dataset: &Dataset| dataset.split(measured.split).len());
        if images > 0 { vec![IDENTIFICATION] } else { Vec::new() }
    }

    fn targets(&self, annotations: &Annotations) -> Result<Vec<u32>> {
        let class = |sample: &&crate::data::Sample| {
            sample.label.class().ok_or_else(|| Error::bug(format!("`{}` has no class", sample.path)))
        };
        annotations.samples.iter().map(class).collect()
    }

    /// Pairs of a class.
    fn synthetic_targets(&self, rows: usize) -> Vec<u32> {
        (0..rows as u32).map(|row| row / 2).collect()
    }

    fn first(&self, classes: &Vec<u32>, rows: usize) -> Vec<u32> {
        classes[..rows].to_vec()
    }

    fn predict(&self, _: &Outputs, _: &Annotations) -> Result<Vec<Infallible>> {
        Err(Error::bug("a prediction of an embedding"))
    }

    fn describe(&self, prediction: &Infallible) -> OutputDescription {
        match *prediction {}
    }

    fn new_images_files(&self, _: &[(String, Infallible)]) -> Result<Vec<TaskFile>> {
        Ok(Vec::new())
    }

    fn predictions_files(&self, _: Predictions<Self>) -> Result<Vec<TaskFile>> {
        Ok(Vec::new())
    }

    fn document(&self, meter: &MetricMeter) -> Result<Json> {
        Ok(json!(meter.scores()))
    }

    fn files(&self, _: &str, _: &MetricMeter) -> Result<Vec<TaskFile>> {
        Ok(Vec::new())
    }
}
