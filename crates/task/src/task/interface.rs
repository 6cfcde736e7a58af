//! The interface of a task for stages and runs, in addition to that of the train loop.

use candle_core::Tensor;
use serde_json::Value as Json;

use super::{Annotations, Decisions, EvaluatedImages, Evaluator, InputObjects, MeasuredImages, TaskSpec};
use crate::code_path::CodePath;
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::metrics::detection::NmsSettings;
use crate::model::Outputs;
use crate::pipeline::{Data, Head};
use crate::report::ImageBoxes;
use crate::train;

/// A task: targets, loss and scores for the train loop, and everything else that stages, `plan` and `predict` need.
///
/// It owns its class names and settings, so that a stage can keep it while it runs.
pub trait Task: train::TrainTask + Sized + Send + Sync + 'static {
    /// The prediction of the network for one image.
    type Prediction;

    /// What each image of the task shows, for messages.
    const ANNOTATION: &'static str;

    /// Whether predictions are boxes, which [`BoxThresholds`] select.
    const FINDS_BOXES: bool = false;

    /// What the outputs of the network mean.
    const OUTPUT_FORM: OutputForm = OutputForm::Exclusive;

    /// Whether it learns from annotations. Otherwise they are ignored, and are not in recipes.
    const USES_LABELS: bool = true;

    /// Whether a trained model predicts something, which can be evaluated.
    const PREDICTS: bool = true;

    /// The views of an image in a batch, one after the other, each with random changes of its own.
    const VIEWS: usize = 1;

    /// The field of a recipe's model that is `true` for this task alone. It identifies the task when a run's model is
    /// loaded. `None` for classification, whose recipes are older than the field.
    const RECIPE_FIELD: Option<&'static str>;

    /// Whether a data set has the annotations of the task, and the head its outputs.
    fn accepts(data: &Data, head: &Head) -> bool;

    /// The task for a stage.
    fn new(spec: &TaskSpec) -> Self;

    /// Refuses a train stage whose loss, head or monitor does not fit the task or the data set.
    fn check(&self, spec: &TaskSpec) -> Result<(), TaskProblem>;

    /// The code paths of the loss and of predictions, which are part of recipes. `mixes` says whether images are mixed.
    fn code_paths(&self, mixes: bool) -> Vec<CodePath>;

    /// The code paths of the scores, which are part of recipes.
    fn metric_code_paths(&self, measured: &MeasuredImages) -> Vec<CodePath>;

    /// The targets of a batch.
    fn targets(&self, annotations: &Annotations) -> Result<Self::Targets>;

    /// The targets of synthetic images, for timings.
    fn synthetic_targets(&self, rows: usize) -> Self::Targets;

    /// The targets of the first `rows` rows.
    fn first(&self, targets: &Self::Targets, rows: usize) -> Self::Targets;

    /// The prediction for each row. `annotations` has where the pixels of each row come from; its samples may be missing.
    fn predict(&self, outputs: &Outputs, annotations: &Annotations) -> Result<Vec<Self::Prediction>>;

    /// The same task with other decisions for new images.
    fn deciding(self, _decisions: Decisions) -> Self {
        self
    }

    /// One prediction from those of several inputs that show the same picture. `inputs` has the place of each in the
    /// picture; it is empty if each shows the whole.
    ///
    /// # Errors
    /// The task cannot merge predictions. Validation refuses pipeline files that request it.
    fn merged(
        &self,
        _predictions: Vec<Self::Prediction>,
        _inputs: &[InputObjects],
        _thresholds: &BoxThresholds,
    ) -> Result<Self::Prediction> {
        Err(Error::bug("merged predictions of a task that cannot merge them"))
    }

    /// The scores of merged predictions. `losses` has the losses of all versions of all images.
    ///
    /// # Errors
    /// As for [`Task::merged`].
    fn measured(
        &self,
        _losses: Self::Meter,
        _predictions: &[(&Sample, &Self::Prediction)],
    ) -> Result<Self::Meter> {
        Err(Error::bug("scores of merged predictions of a task that cannot merge them"))
    }

    /// The prediction for a new image, with the temperature.
    fn corrected(&self, prediction: Self::Prediction) -> Self::Prediction {
        prediction
    }

    /// The prediction for each row, for people and other programs. By default, it is that of an evaluation.
    fn predict_new(
        &self,
        outputs: &Outputs,
        annotations: &Annotations,
        _thresholds: &BoxThresholds,
    ) -> Result<Vec<Self::Prediction>> {
        self.predict(outputs, annotations)
    }

    /// What `predict` prints for an image.
    fn describe(&self, prediction: &Self::Prediction) -> OutputDescription;

    /// The tables of predictions of new images. Each has the name of its file.
    fn new_images_files(&self, predictions: &[(String, Self::Prediction)]) -> Result<Vec<TaskFile>>;

    /// The tables of an evaluation's predictions, in the order of the images.
    fn predictions_files(&self, predictions: Predictions<Self>) -> Result<Vec<TaskFile>>;

    /// The scores in `metrics.json`.
    fn document(&self, meter: &Self::Meter) -> Result<Json>;

    /// The tables and figures of scores. `stage` is the name in figures.
    fn files(&self, stage: &str, meter: &Self::Meter) -> Result<Vec<TaskFile>>;

    /// What an evaluation finds in the predictions for all of its images, in addition to the scores: also the scores of
    /// subsets.
    fn analysis(&self, _evaluated: &EvaluatedPredictions<Self>) -> Result<Analysis> {
        Ok(Analysis::default())
    }

    /// The code paths of [`Task::analysis`], which are part of the recipes of evaluations alone.
    fn analysis_code_paths(&self) -> Vec<CodePath> {
        Vec::new()
    }

    /// Tables of the epochs in addition to `history.csv`.
    fn epoch_files(&self, _rows: &[train::EpochRow]) -> Vec<TaskFile> {
        Vec::new()
    }

    /// The number of batches of [`EXAMPLES_IN_BATCH`] evaluated images that [`Task::example_files`] draws.
    const EXAMPLE_BATCHES: usize = 0;

    /// Pictures of some evaluated images with their annotations and with what the network predicts, all of batch
    /// `batch`, counted from 0.
    fn example_files(&self, _batch: usize, _examples: &Examples) -> Result<Vec<TaskFile>> {
        Ok(Vec::new())
    }

    /// An evaluation of several models, or versions of each image, together.
    ///
    /// # Errors
    /// The task cannot merge predictions. Validation refuses pipeline files that request it.
    fn ensemble(self, _images: EvaluatedImages) -> Result<Box<dyn Evaluator>> {
        Err(Error::bug("an ensemble of a task that has none"))
    }
}

/// What the outputs of a network mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// Logits of classes of which an image has one: their softmax are probabilities.
    Exclusive,
    /// Logits of independent labels: their sigmoids are probabilities.
    Independent,
    /// Logits of boxes and classes at each place of several maps.
    Boxes,
    /// Embeddings of unit length, which are compared.
    Embeddings,
}

/// The number of images in a batch of examples, which becomes one sheet.
pub const EXAMPLES_IN_BATCH: usize = 16;

/// Evaluated images, with all that a task needs to draw them.
pub struct Examples<'a> {
    /// The images as the network sees them, in the order of rows.
    pub pictures: Vec<InputPicture>,
    pub annotations: Annotations<'a>,
    pub outputs: Outputs,
}

/// The input of a network as a picture: the normalisation is undone.
pub struct InputPicture {
    /// Width and height.
    pub size: [u32; 2],
    /// RGB8, row by row.
    pub pixels: Vec<u8>,
}

/// Predictions of an evaluation, with their images.
pub type Predictions<'a, T> = Vec<(&'a Sample, <T as Task>::Prediction)>;

/// All that an evaluation has found, for its analysis.
pub struct EvaluatedPredictions<'a, T: Task> {
    /// The stage's name in figures.
    pub stage: &'a str,
    pub meter: &'a T::Meter,
    pub predictions: Predictions<'a, T>,
    /// The position of each prediction's sample in the data set.
    pub positions: Vec<usize>,
    /// The predictions of the validation split, if something is fitted on it.
    pub validation: Predictions<'a, T>,
    /// The group of each prediction, counted from 0.
    pub groups: Vec<usize>,
    pub images: &'a EvaluatedImages,
}

/// A file of a stage's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFile {
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

impl TaskFile {
    pub fn new(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, bytes: bytes.into() }
    }
}

/// What an evaluation finds in addition to its scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// Further fields of `metrics.json`.
    pub fields: serde_json::Map<String, Json>,
    /// Tables and figures.
    pub files: Vec<TaskFile>,
    /// Pictures of images, which the stage draws.
    pub sheets: Vec<ImageSheet>,
}

/// Evaluated images to be drawn in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSheet {
    pub file: &'static str,
    pub title: String,
    /// At least one.
    pub images: Vec<ShownImage>,
}

/// An image of a sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownImage {
    /// The position of its sample in the data set.
    pub sample: usize,
    pub caption: String,
    /// The class whose logit is explained.
    pub class: usize,
}

/// Which boxes of a detector are predictions for people and other programs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxThresholds {
    /// Scores must be above it.
    pub confidence: f32,
    /// Of two boxes of a class whose intersection over union is above it, only the one with the higher score stays.
    pub iou: f64,
}

impl Default for BoxThresholds {
    fn default() -> Self {
        let NmsSettings { confidence, iou, .. } = NmsSettings::PREDICTION;
        Self { confidence, iou }
    }
}

/// A prediction for one image, as `predict` prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputDescription {
    /// One line for people.
    pub text: String,
    /// The fields of the JSON document.
    pub document: serde_json::Map<String, Json>,
    /// The boxes to draw, if the task finds any.
    pub boxes: Option<ImageBoxes>,
}

/// The reason why a train stage does not fit its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskProblem {
    /// The setting of the stage, such as `loss.class_weights`.
    pub setting: String,
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

/// The rows of a tensor [N, K] as numbers.
pub(super) fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(tensor.to_vec2()?)
}
