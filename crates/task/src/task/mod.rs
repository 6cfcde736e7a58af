//! Tasks: one folder each. A task defines what images show. It compares a network's outputs with this, computes scores,
//! formats predictions, writes files and reports.
//!
//! - `classification` has one class for each image, `multi_label` any number of labels. `recognition` is an evaluation
//!   that compares embeddings, `contrastive` a training that compares views of images, `metric_learning` one that compares
//!   embeddings by class. The train loop uses [`train::Task`](crate::train::Task); stages and runs use [`Task`].
//!   [`TaskKind`] is the one place that lists all tasks. No code outside a task's folder depends on the contents of its
//!   targets, outputs, meter or predictions.
//! - A metric is a line in the task's [`TaskMetrics`](crate::metrics::TaskMetrics). Tables, events, curves, comparisons,
//!   the terminal and the page take its name, title, format and direction from there.
//! - A task's report is its [`TaskReporting`](crate::report::TaskReporting), and a line in [`TASKS`]. `example.rs` shows
//!   one.
//!
//! The module never opens files, runs no stage and does not depend on recipes. It returns files as [`TaskFile`]s.

mod annotations;
mod class_list;
mod class_weights;
pub mod classification;
mod confidence_intervals;
pub mod contrastive;
pub mod detection;
mod evaluator;
#[cfg(test)]
mod example;
mod interface;
mod kind;
mod merged_predictions;
pub mod metric_learning;
pub mod multi_label;
mod new_images;
mod probabilities;
mod readings;
pub mod recognition;
mod registry;
mod spec;
mod subsets;
#[cfg(test)]
mod tests;

pub use annotations::{Annotated, Annotations, InputObjects, with_targets};
pub use class_list::{UNKNOWN, is_known, list};
pub use evaluator::{Evaluation, Evaluator, SingleModel};
pub use interface::{
    Analysis, BoxThresholds, EXAMPLES_IN_BATCH, EvaluatedPredictions, Examples, ImageSheet, InputPicture,
    OutputDescription, OutputForm, Predictions, ShownImage, Task, TaskFile, TaskProblem,
};
pub use kind::{TaskKind, TaskVisitor};
pub use new_images::{ImageInputs, NewImages};
pub use probabilities::{Decisions, FittedScores, ThresholdScores};
pub use recognition::{GallerySearch, PairVerification, RecognitionSpec};
pub use registry::{TASKS, named, of_stage};
use spec::monitors_ranking;
pub use spec::{MeasuredImages, TaskSpec, TaskTraining};
pub use subsets::{Division, EvaluatedImages, Fits, ReadMask, Subset};
