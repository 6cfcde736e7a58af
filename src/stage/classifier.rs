//! The task of telling classes apart: cross-entropy on logits, counted by the classification metrics.

use candle_core::{DType, Device};

use crate::autograd::{Tape, Value};
use crate::error::Result;
use crate::metrics::ClassificationMetrics;
use crate::ops;
use crate::pipeline::Loss;
use crate::train::{Scores, Task};

pub struct Classifier<'a> {
    pub classes: &'a [String],
    pub label_smoothing: f64,
}

impl<'a> Classifier<'a> {
    pub fn new(classes: &'a [String], loss: &Loss) -> Self {
        let Loss::CrossEntropy(cross_entropy) = loss;
        Self { classes, label_smoothing: cross_entropy.label_smoothing }
    }
}

impl Task for Classifier<'_> {
    type Meter = ClassificationMetrics;

    fn meter(&self) -> ClassificationMetrics {
        ClassificationMetrics::new(self.classes.len())
    }

    fn loss(
        &self,
        tape: &mut Tape,
        logits: &Value,
        targets: &[u32],
        meter: &mut ClassificationMetrics,
    ) -> Result<Value> {
        let (loss, losses) = ops::cross_entropy(tape, logits, targets, self.label_smoothing)?;
        let scores = logits.tensor().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let scores: Vec<f32> = scores.flatten_all()?.to_vec1()?;
        meter.update(&scores, targets, &losses)?;
        Ok(loss)
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
