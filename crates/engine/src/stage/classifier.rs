//! The task of telling classes apart: a loss on scores, counted by the classification metrics.

use candle_core::Tensor;
use serde_json::json;

use super::{Context, Outcome};
use crate::autograd::{Tape, Value};
use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::metrics::{ClassificationMetrics, most_likely};
use crate::model::Outputs;
use crate::ops::code_paths::{CLASS_LOSS, FOCAL, MARGIN};
use crate::ops::{self, Later, Margin};
use crate::pipeline::{Distill, Head, Loss, Train};
use crate::report;
use crate::stage::Subject;
use crate::train::{BatchLoss, Scores, Targets, Task};

pub struct Classifier<'a> {
    classes: &'a [String],
    loss: Loss,
    /// What cosines were multiplied by; 1 where scores are none.
    scale: f64,
    class_weights: Option<Vec<f64>>,
    distill: Option<Distill>,
}

impl<'a> Classifier<'a> {
    /// By plain cross-entropy, as evaluations measure.
    pub fn new(classes: &'a [String]) -> Self {
        Self { classes, loss: Loss::default(), scale: 1.0, class_weights: None, distill: None }
    }

    /// By the loss of a train stage; `dataset` says how many training images each class has, where that is known.
    pub fn of_training(subject: &'a Subject, settings: &Train, dataset: Option<&Dataset>) -> Self {
        let loss = &settings.loss;
        let classes = &subject.classes[..];
        let images: Vec<usize> = match dataset {
            Some(dataset) => dataset.counts().iter().map(|counts| counts[Split::Train as usize]).collect(),
            None => vec![1; classes.len()],
        };
        let scale = match &subject.model.head {
            Head::Embedding(embedding) => embedding.scale,
            Head::Linear(_) | Head::Mlp(_) => 1.0,
        };
        let class_weights = loss.class_weights().map(|weights| weights.resolve(classes, &images));
        Self { classes, loss: loss.clone(), scale, class_weights, distill: settings.distill.clone() }
    }
}

/// What a loss takes beyond what is common; `mixes` if targets are mixtures.
pub(super) fn code_paths(loss: &Loss, mixes: bool) -> &'static [CodePath] {
    match loss {
        Loss::CrossEntropy(loss) if loss.class_weights.is_none() && !mixes => &[],
        Loss::CrossEntropy(_) => &[CLASS_LOSS],
        Loss::Focal(_) => &[CLASS_LOSS, FOCAL],
        Loss::Arcface(_) | Loss::Cosface(_) => &[CLASS_LOSS, MARGIN],
        // Those are of all that tells labels.
        Loss::Bce(_) => &[],
    }
}

/// What is counted of a batch.
pub struct Reading {
    scores: Later<f32>,
    labels: Vec<u32>,
    losses: Later<f64>,
    /// What each image counts, where classes count differently.
    weights: Option<Vec<f64>>,
}

impl Task for Classifier<'_> {
    type Meter = ClassificationMetrics;
    type Reading = Reading;

    fn meter(&self) -> ClassificationMetrics {
        ClassificationMetrics::new(self.classes.len())
    }

    fn loss(&self, tape: &mut Tape, outputs: &Outputs, targets: &Targets) -> Result<BatchLoss<Reading>> {
        let output = outputs.logits()?;
        let scores = Later::of(output.tensor())?;
        let class_weights = self.class_weights.as_deref();
        let margin_loss = |margin| ops::MarginLoss { margin, scale: self.scale, class_weights };
        let losses = match (&self.loss, targets) {
            (Loss::CrossEntropy(loss), Targets::Classes(labels)) if class_weights.is_none() => {
                let (mean, losses) = ops::cross_entropy(tape, output, labels, loss.label_smoothing)?;
                let reading = Reading { scores, labels: labels.clone(), losses, weights: None };
                return Ok(BatchLoss { mean, weight: labels.len() as f64, reading });
            }
            (Loss::Bce(_), _) => return Err(Error::bug("a loss of labels for one class each")),
            (Loss::CrossEntropy(loss), _) => {
                let loss = ops::CrossEntropy { label_smoothing: loss.label_smoothing, class_weights };
                ops::class_loss(tape, output, &targets.mixtures()?, &loss)
            }
            (Loss::Focal(loss), _) => {
                let loss = ops::Focal { gamma: loss.gamma, class_weights };
                ops::class_loss(tape, output, &targets.mixtures()?, &loss)
            }
            (Loss::Arcface(loss), _) => {
                let margin = Margin::Angle { margin: loss.margin, easy: loss.easy_margin };
                ops::class_loss(tape, output, &targets.mixtures()?, &margin_loss(margin))
            }
            (Loss::Cosface(loss), _) => {
                let margin = Margin::Cosine { margin: loss.margin };
                ops::class_loss(tape, output, &targets.mixtures()?, &margin_loss(margin))
            }
        }?;
        let ops::Losses { mean, rows: losses, weights } = losses;
        let (labels, weights) = (targets.most()?.into_owned(), class_weights.map(|_| weights));
        // Without class weights each row counts once, however the shares of what it mixes are rounded.
        let weight = weights.as_ref().map_or(labels.len() as f64, |weights| weights.iter().sum());
        Ok(BatchLoss { mean, weight, reading: Reading { scores, labels, losses, weights } })
    }

    fn count(&self, meter: &mut ClassificationMetrics, reading: Reading) -> Result<()> {
        let (scores, losses) = (reading.scores.read()?, reading.losses.read()?);
        match &reading.weights {
            Some(weights) => meter.update_weighted(&scores, &reading.labels, &losses, weights),
            None => meter.update(&scores, &reading.labels, &losses),
        }
    }

    /// The meter counts what labels say, in training as in validation, where nobody teaches: the two can be compared.
    fn divergence(&self, tape: &mut Tape, outputs: &Outputs, teacher: &Tensor) -> Result<Value> {
        let Some(distill) = &self.distill else {
            return Err(Error::bug("a teacher that nobody asked for"));
        };
        ops::distillation(tape, outputs.logits()?, teacher, distill.temperature)
    }

    fn running(&self, meter: &ClassificationMetrics) -> Scores {
        Scores::from([("loss".to_owned(), meter.loss()), ("accuracy".to_owned(), meter.accuracy())])
    }

    fn scores(&self, meter: &ClassificationMetrics) -> Scores {
        let mut scores = self.running(meter);
        if let Ok(all) = meter.finish(self.classes) {
            scores.insert("macro_f1".to_owned(), all.macro_f1);
        }
        scores
    }
}

impl Outcome for Classifier<'_> {
    fn probabilities(&self, scores: &Tensor) -> Result<Tensor> {
        ops::softmax(scores)
    }

    fn told(&self, probabilities: &[f32]) -> Vec<u32> {
        vec![most_likely(probabilities) as u32]
    }

    fn document(&self, meter: &ClassificationMetrics) -> Result<serde_json::Value> {
        Ok(json!(meter.finish(self.classes)?))
    }

    /// The confusion matrix, as numbers and as pictures.
    fn write(&self, context: &Context, meter: &ClassificationMetrics) -> Result<()> {
        let metrics = meter.finish(self.classes)?;
        context.write("confusion_matrix.csv", report::confusion_csv(&metrics))?;
        let picture = report::confusion_matrix(context.stage, &metrics);
        context.write("confusion_matrix.svg", picture.document())?;
        context.write("confusion_matrix.png", report::png(&picture)?)
    }
}
