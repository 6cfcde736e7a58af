//! Training: the loop, optimizers, schedules, accumulation, averaging, early stopping, checkpoints.
//!
//! The loop knows no tasks and no files: it is given batches, a loss, and a place to put checkpoints.

mod arithmetic;
mod average;
mod batch;
mod checkpoint;
pub mod code_paths;
mod early_stop;
mod fit;
mod gradients;
mod guards;
mod optimizer;
mod plateau;
mod precision;
mod range_test;
mod setup;
mod task;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trajectory;

pub use average::Average;
pub use checkpoint::{Best, Checkpoint, Progress, Row};
pub use early_stop::Tracker;
pub use fit::fit;
pub use gradients::Gradients;
pub use optimizer::{Optimizer, Parameter};
pub use plateau::Plateau;
pub use precision::products;
pub use range_test::{Point, Range, RangeTest, range_test};
pub use setup::{Host, LossPart, Setup, Step, Unwatched};
pub use task::{Batch, BatchLoss, Batches, Feed, Scores, Task};
