//! Predictions of images that belong to no data set.

use super::{Annotations, BoxThresholds, OutputDescription, Task, TaskFile};
use crate::error::{Error, Result};
use crate::model::Outputs;

/// The inputs of the network that show one image, each with its outputs, and the place of its pixels in the image.
pub type ImageInputs<'a> = &'a mut dyn Iterator<Item = Result<(Outputs, Annotations<'static>)>>;

/// The predictions of new images: described one after another, and kept for tables if there will be any. A kept
/// prediction has only its numbers, so that there may be many.
pub trait NewImages {
    /// Predicts one image.
    ///
    /// # Errors
    /// Those of the inputs, or outputs of another task.
    fn add(&mut self, file: String, inputs: ImageInputs) -> Result<OutputDescription>;

    /// The files and predictions that are kept, in order.
    fn described(&self) -> Box<dyn Iterator<Item = (&str, OutputDescription)> + '_>;

    /// The tables of the predictions that are kept.
    ///
    /// # Errors
    /// A bug: a class without a name.
    fn files(&self) -> Result<Vec<TaskFile>>;
}

/// The predictions of a task.
pub struct CollectedPredictions<T: Task> {
    task: T,
    thresholds: BoxThresholds,
    /// Whether predictions are kept.
    keeps: bool,
    /// Each with the name of its file.
    predictions: Vec<(String, T::Prediction)>,
}

impl<T: Task> CollectedPredictions<T> {
    pub fn new(task: T, thresholds: BoxThresholds, keeps: bool) -> Self {
        Self { task, thresholds, keeps, predictions: Vec::new() }
    }
}

impl<T: Task> NewImages for CollectedPredictions<T> {
    fn add(&mut self, file: String, inputs: ImageInputs) -> Result<OutputDescription> {
        let Self { task, thresholds, .. } = self;
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for input in inputs {
            let (outputs, annotations) = input?;
            rows.extend(task.predict_new(&outputs, &annotations, thresholds)?);
            places.extend(annotations.objects.into_iter().flatten());
        }
        let prediction = match rows.len() {
            0 => return Err(Error::bug("an image without a prediction")),
            1 => rows.remove(0),
            _ => task.merged(rows, &places, thresholds)?,
        };
        let prediction = task.corrected(prediction);
        let description = task.describe(&prediction);
        if self.keeps {
            self.predictions.push((file, prediction));
        }
        Ok(description)
    }

    fn described(&self) -> Box<dyn Iterator<Item = (&str, OutputDescription)> + '_> {
        let predictions = self.predictions.iter();
        Box::new(predictions.map(|(file, prediction)| (file.as_str(), self.task.describe(prediction))))
    }

    fn files(&self) -> Result<Vec<TaskFile>> {
        self.task.new_images_files(&self.predictions)
    }
}
