//! An evaluation: batches of outputs in, scores and files out.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::{Analysis, Annotations, EvaluatedImages, EvaluatedPredictions, ImageSheet, Task, TaskFile};
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

    /// The names of the values that [`Evaluator::forward`] returns.
    fn output_names(&self, model: &Model) -> &'static [&'static str] {
        model.description.outputs
    }

    /// Adds a batch, whose images are all of one split. `samples` are the positions of its rows in the data set. Returns
    /// the scores that are known so far.
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
    /// Pictures of images, which the stage draws.
    pub sheets: Vec<ImageSheet>,
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
        document["split"] = json!(images.split.name());
        let (validation, predictions): (Vec<_>, Vec<_>) =
            predictions.into_iter().partition(|(sample, _)| images.is_fitted_on(*sample));
        let positions: Vec<usize> = predictions.iter().map(|(sample, _)| *sample).collect();
        let groups = match &images.groups {
            Some(groups) => counted(positions.iter().map(|sample| groups[*sample].as_str())),
            None => (0..predictions.len()).collect(),
        };
        let named = |all: Vec<(usize, T::Prediction)>| {
            let name = |(sample, prediction)| (&images.dataset.samples[sample], prediction);
            all.into_iter().map(name).collect()
        };
        let (predictions, validation) = (named(predictions), named(validation));
        let evaluated =
            EvaluatedPredictions { stage, meter, predictions, positions, validation, groups, images };
        let Analysis { fields, files: found, sheets } = task.analysis(&evaluated)?;
        for (name, field) in fields {
            document[name] = field;
        }
        let mut files = task.predictions_files(evaluated.predictions)?;
        files.extend(task.files(stage, meter)?);
        files.extend(found);
        Ok(Self { document, files, sheets })
    }
}

/// The groups by number, counted from 0 in the order of their first images.
fn counted<'a>(groups: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut places = HashMap::new();
    groups
        .map(|group| {
            let next = places.len();
            *places.entry(group).or_insert(next)
        })
        .collect()
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
        if !samples.iter().any(|sample| self.images.is_fitted_on(*sample)) {
            let loss = self.task.loss(tape, outputs, &self.task.targets(annotations)?)?;
            self.task.update(&mut self.meter, loss.stats)?;
        }
        self.predictions.extend(samples.iter().copied().zip(self.task.predict(outputs, annotations)?));
        Ok(self.task.progress(&self.meter))
    }

    fn finish(self: Box<Self>, stage: &str) -> Result<Evaluation> {
        let Self { task, images, meter, predictions } = *self;
        Evaluation::of(&task, &meter, predictions, &images, stage)
    }
}
