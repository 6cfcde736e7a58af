//! Predictions of images that belong to no data set.

use super::{Annotations, BoxThresholds, OutputDescription, Task, TaskFile};
use crate::error::{Error, Result};
use crate::model::Outputs;

/// The predictions of new images: described one after another, and kept for tables. A kept prediction has only its
/// numbers, so that there may be many.
pub trait NewImages {
    /// Predicts one image from the outputs of its only row.
    ///
    /// # Errors
    /// Outputs of another task.
    fn add(
        &mut self,
        file: String,
        outputs: &Outputs,
        annotations: &Annotations,
    ) -> Result<OutputDescription>;

    /// The files and predictions so far, in order.
    fn described(&self) -> Box<dyn Iterator<Item = (&str, OutputDescription)> + '_>;

    /// The tables of the predictions so far.
    ///
    /// # Errors
    /// A bug: a class without a name.
    fn files(&self) -> Result<Vec<TaskFile>>;
}

/// The predictions of a task.
pub struct CollectedPredictions<T: Task> {
    task: T,
    thresholds: BoxThresholds,
    /// Each with the name of its file.
    predictions: Vec<(String, T::Prediction)>,
}

impl<T: Task> CollectedPredictions<T> {
    pub fn new(task: T, thresholds: BoxThresholds) -> Self {
        Self { task, thresholds, predictions: Vec::new() }
    }
}

impl<T: Task> NewImages for CollectedPredictions<T> {
    fn add(
        &mut self,
        file: String,
        outputs: &Outputs,
        annotations: &Annotations,
    ) -> Result<OutputDescription> {
        let mut rows = self.task.predict_new(outputs, annotations, &self.thresholds)?;
        let prediction = rows.pop().ok_or_else(|| Error::bug("an image without a prediction"))?;
        let description = self.task.describe(&prediction);
        self.predictions.push((file, prediction));
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
