//! Tasks: one folder each. A task says what images show, and how the outputs of a network are compared with it, scored,
//! put into words, written to files and reported.
//!
//! - `classification` has one class for each image, `multi_label` any number of labels; `recognition` is an evaluation that
//!   compares embeddings. The train loop asks a task what [`train::Task`](crate::train::Task) says, stages and runs ask what
//!   [`Task`] says. [`TaskKind`] is the one place that lists all tasks. Nothing outside a task's folder looks into its
//!   targets, its outputs, its meter or its predictions.
//! - A metric is a line in the task's [`TaskMetrics`](crate::metrics::TaskMetrics). Tables, events, curves, comparisons, the
//!   terminal and the page take its name, title, format and direction from there.
//! - A task's report is its [`TaskReporting`](crate::report::TaskReporting), and a line in [`TASKS`]. `example.rs` shows one.
//!
//! The module never opens files, runs no stage and knows no recipes: what a task writes, it returns as [`TaskFile`]s.

mod annotations;
mod class_list;
mod class_weights;
pub mod classification;
mod evaluator;
#[cfg(test)]
mod example;
mod interface;
mod kind;
pub mod multi_label;
pub mod recognition;
mod registry;
mod spec;
#[cfg(test)]
mod tests;

pub use annotations::{Annotated, Annotations, with_targets};
pub use class_list::{UNKNOWN, is_known, list};
pub use evaluator::{Evaluation, Evaluator, SingleModel};
pub use interface::{OutputDescription, Predictions, Task, TaskFile, TaskProblem};
pub use kind::{TaskKind, TaskVisitor};
pub use recognition::{GallerySearch, PairVerification, RecognitionSpec};
pub use registry::{TASKS, named, of_stage};
pub use spec::{Describer, MeasuredImages, TaskSpec, TaskTraining};
