//! Tasks: what images show, and how a network's output is compared with it, scored, put into words and written to files.
//!
//! A task is a folder: `classification` (one class for each image), `multi_label` (any number of labels), `recognition`
//! (an evaluation that compares embeddings). The train loop asks a task what [`train::Task`](crate::train::Task) says,
//! stages and runs ask what [`Task`] says, and [`TaskKind`] is the one place that lists all tasks. Nothing outside a task's
//! folder looks into its targets, its outputs, its meter or its predictions.
//!
//! The room never opens files, runs no stage and knows no recipes: what a task writes, it returns as [`File`]s.

mod annotations;
mod class_list;
mod class_weights;
mod classification;
mod evaluator;
mod interface;
mod kind;
mod multi_label;
mod recognition;
mod spec;
#[cfg(test)]
mod tests;

pub use annotations::{Annotated, Annotations, with_targets};
pub use class_list::{UNKNOWN, is_known, list};
pub use evaluator::{Evaluation, Evaluator, SingleModel};
pub use interface::{Description, File, Predictions, Problem, Task};
pub use kind::{TaskKind, TaskVisitor};
pub use recognition::{Comparison, Recognition, Search};
pub use spec::{Describer, Measured, TaskSpec, Training};
