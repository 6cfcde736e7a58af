//! An evaluation: batches of outputs in, scores and files out.

use serde_json::{Value as Json, json};

use super::{Analysis, Annotations, EvaluatedImages, Task, TaskFile};
use crate::autograd::Tape;
use crate::error::Result;
use crate::model::{Activations, Model, Outputs, Pass};
use crate::train::Scores;

/// The measurements of an evaluation. It receives all readable images of its splits, once for each model.
pub trait Evaluator {
    /// Runs a model from layer `from`, which takes `input`, and returns the values to measure: by default, its output.
    fn forward(&self, model: &Model, pass: &mut Pass, from: usize, input: Activations) -> Result<Outputs> {
        model.forward(pass, from, input)
    }

    /// Adds a batch. `samples` are the positions of its rows in the data set. Returns the scores that are known so far.
    fn update(
        &mut self,
        tape: &mut Tape,
        outputs: &Outputs,
        annotations: &Annotations,
        samples: &[usize],
    ) -> Result<Scores>;

    /// The result. `stage` is the name in figures.
    fn finish(self: Box<Self>, stage: &str) -> Result<Evaluation>;
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The content of `metrics.json`.
    pub document: Json,
    /// Tables and figures.
    pub files: Vec<TaskFile>,
}

impl Evaluation {
    /// The result of predictions on one split of a data set.
    pub(super) fn of<T: Task>(
        task: &T,
        meter: &T::Meter,
        predictions: Vec<(usize, T::Prediction)>,
        images: &EvaluatedImages,
        stage: &str,
    ) -> Result<Self> {
        let mut document = task.document(meter)?;
        let EvaluatedImages { dataset, split, subsets } = images;
        document["split"] = json!(split.name());
        let predictions = predictions.into_iter();
        let predictions = predictions.map(|(sample, prediction)| (&dataset.samples[sample], prediction));
        let predictions = predictions.collect();
        let Analysis { fields, files: found } = task.analysis(stage, meter, &predictions, subsets)?;
        for (name, field) in fields {
            document[name] = field;
        }
        let mut files = task.predictions_files(predictions)?;
        files.extend(task.files(stage, meter)?);
        files.extend(found);
        Ok(Self { document, files })
    }
}

/// The evaluation of one model with the loss and the scores of its task.
pub struct SingleModel<T: Task> {
    task: T,
    images: EvaluatedImages,
    meter: T::Meter,
    /// Each with the position of its sample.
    predictions: Vec<(usize, T::Prediction)>,
}

impl<T: Task> SingleModel<T> {
    pub fn new(task: T, images: EvaluatedImages) -> Self {
        let meter = task.validation_meter();
        Self { task, images, meter, predictions: Vec::new() }
    }
}

impl<T: Task> Evaluator for SingleModel<T> {
    fn update(
        &mut self,
        tape: &mut Tape,
        outputs: &Outputs,
        annotations: &Annotations,
        samples: &[usize],
    ) -> Result<Scores> {
        let loss = self.task.loss(tape, outputs, &self.task.targets(annotations)?)?;
        self.task.update(&mut self.meter, loss.stats)?;
        self.predictions.extend(samples.iter().copied().zip(self.task.predict(outputs, annotations)?));
        Ok(self.task.progress(&self.meter))
    }

    fn finish(self: Box<Self>, stage: &str) -> Result<Evaluation> {
        let Self { task, images, meter, predictions } = *self;
        Evaluation::of(&task, &meter, predictions, &images, stage)
    }
}
