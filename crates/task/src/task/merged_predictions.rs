//! An evaluation with several predictions for each image, which become one: test-time augmentation.

use std::collections::BTreeMap;

use super::{Annotations, BoxThresholds, EvaluatedImages, Evaluation, Evaluator, Task};
use crate::autograd::Tape;
use crate::error::Result;
use crate::model::Outputs;
use crate::train::Scores;

/// Keeps the predictions of all versions of an image until the last.
pub struct MergedPredictions<T: Task> {
    task: T,
    images: EvaluatedImages,
    /// The losses of all versions.
    losses: T::Meter,
    /// By the position of the sample.
    predictions: BTreeMap<usize, Vec<T::Prediction>>,
}

impl<T: Task> MergedPredictions<T> {
    pub fn new(task: T, images: EvaluatedImages) -> Self {
        let losses = task.meter();
        Self { task, images, losses, predictions: BTreeMap::new() }
    }
}

impl<T: Task> Evaluator for MergedPredictions<T> {
    fn update(
        &mut self,
        tape: &mut Tape,
        outputs: &Outputs,
        annotations: &Annotations,
        samples: &[usize],
    ) -> Result<Scores> {
        if !samples.iter().any(|sample| self.images.is_fitted_on(*sample)) {
            let loss = self.task.loss(tape, outputs, &self.task.targets(annotations)?)?;
            self.task.update(&mut self.losses, loss.stats)?;
        }
        for (sample, prediction) in samples.iter().zip(self.task.predict(outputs, annotations)?) {
            self.predictions.entry(*sample).or_default().push(prediction);
        }
        Ok(self.task.progress(&self.losses))
    }

    fn finish(self: Box<Self>, stage: &str) -> Result<Evaluation> {
        let Self { task, images, losses, predictions } = *self;
        let merged = |(sample, all)| Ok((sample, task.merged(all, &[], &BoxThresholds::default())?));
        let predictions: Vec<_> = predictions.into_iter().map(merged).collect::<Result<_>>()?;
        let measured = predictions.iter().filter(|(sample, _)| !images.is_fitted_on(*sample));
        let measured = measured.map(|(sample, prediction)| (&images.dataset.samples[*sample], prediction));
        let meter = task.measured(losses, &measured.collect::<Vec<_>>())?;
        Evaluation::of(&task, &meter, predictions, &images, stage)
    }
}

/// The mean of class or label probabilities, [K] each.
pub(super) fn mean_probabilities(all: Vec<Vec<f32>>) -> Vec<f32> {
    let classes = all.first().map_or(0, Vec::len);
    let mean = |class| all.iter().map(|row| f64::from(row[class])).sum::<f64>() / all.len() as f64;
    (0..classes).map(|class| mean(class) as f32).collect()
}
