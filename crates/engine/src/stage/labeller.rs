//! The task of telling labels, of which an image has any number: each by itself, counted by the metrics of labels.

use candle_core::Tensor;
use serde_json::json;

use super::{Context, Outcome, Subject};
use crate::autograd::Tape;
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::metrics::{MultiLabelMetrics, THRESHOLD};
use crate::model::Outputs;
use crate::ops::{self, Later};
use crate::pipeline::{ClassWeights, Loss, Train};
use crate::report;
use crate::train::{BatchLoss, Scores, Targets, Task};

pub struct Labeller<'a> {
    labels: &'a [String],
    positive_weights: Option<Vec<f64>>,
}

impl<'a> Labeller<'a> {
    /// By plain binary cross-entropy, as evaluations measure.
    pub fn new(labels: &'a [String]) -> Self {
        Self { labels, positive_weights: None }
    }

    /// By the loss of a train stage; `dataset` says how many training images have each label, where that is known.
    pub fn of_training(subject: &'a Subject, settings: &Train, dataset: Option<&Dataset>) -> Self {
        let labels = &subject.classes[..];
        let (with, images) = match dataset {
            Some(dataset) => {
                let with = dataset.counts().iter().map(|counts| counts[Split::Train as usize]).collect();
                (with, dataset.split(Split::Train).len())
            }
            None => (vec![1; labels.len()], 2),
        };
        let positive_weights = match &settings.loss {
            Loss::Bce(loss) => loss.positive_weights.as_ref(),
            _ => None,
        };
        let resolve = |weights: &ClassWeights| weights.resolve_positive(labels, &with, images);
        Self { labels, positive_weights: positive_weights.map(resolve) }
    }
}

/// What is counted of a batch.
pub struct Reading {
    probabilities: Later<f32>,
    truths: Vec<bool>,
    losses: Later<f64>,
}

impl Task for Labeller<'_> {
    type Meter = MultiLabelMetrics;
    type Reading = Reading;

    fn meter(&self) -> MultiLabelMetrics {
        MultiLabelMetrics::new(self.labels.len(), false)
    }

    fn validation_meter(&self) -> MultiLabelMetrics {
        MultiLabelMetrics::new(self.labels.len(), true)
    }

    fn settled(&self, meter: MultiLabelMetrics) -> MultiLabelMetrics {
        meter.settled()
    }

    fn loss(&self, tape: &mut Tape, outputs: &Outputs, targets: &Targets) -> Result<BatchLoss<Reading>> {
        let output = outputs.logits()?;
        let Targets::Labels(targets) = targets else {
            return Err(Error::bug("a loss of labels where images have one class each"));
        };
        let weights = self.positive_weights.as_deref();
        let (mean, losses) = ops::binary_cross_entropy(tape, output, targets, weights)?;
        let probabilities = Later::of(&ops::sigmoid(output.tensor())?)?;
        // Of a mixed image, what it shows the most of.
        let truths = targets.iter().map(|share| *share >= 0.5).collect();
        // What a label counts in its row is no part of the mean's denominator, as with PyTorch's `pos_weight`.
        let weight = output.tensor().dim(0)? as f64;
        Ok(BatchLoss { mean, weight, reading: Reading { probabilities, truths, losses } })
    }

    fn count(&self, meter: &mut MultiLabelMetrics, reading: Reading) -> Result<()> {
        meter.update(&reading.probabilities.read()?, &reading.truths, &reading.losses.read()?)
    }

    fn running(&self, meter: &MultiLabelMetrics) -> Scores {
        Scores::from([("loss".to_owned(), meter.loss()), ("accuracy".to_owned(), meter.accuracy())])
    }

    fn scores(&self, meter: &MultiLabelMetrics) -> Scores {
        let mut scores = self.running(meter);
        if let Ok(all) = meter.finish(self.labels) {
            scores.insert("macro_f1".to_owned(), all.macro_f1);
            scores.extend(all.map.map(|map| ("map".to_owned(), map)));
        }
        scores
    }
}

impl Outcome for Labeller<'_> {
    fn probabilities(&self, scores: &Tensor) -> Result<Tensor> {
        ops::sigmoid(scores)
    }

    fn told(&self, probabilities: &[f32]) -> Vec<u32> {
        let told = (0..).zip(probabilities).filter(|(_, probability)| **probability >= THRESHOLD);
        told.map(|(label, _)| label).collect()
    }

    fn document(&self, meter: &MultiLabelMetrics) -> Result<serde_json::Value> {
        Ok(json!(meter.finish(self.labels)?))
    }

    /// A row for each label: there is no confusion of one with another where each is told by itself.
    fn write(&self, context: &Context, meter: &MultiLabelMetrics) -> Result<()> {
        context.write("labels.csv", report::labels_csv(&meter.finish(self.labels)?))
    }
}
