//! Training: the loop, optimizers, schedules, early stopping, checkpoints.
//!
//! The loop knows no tasks and no files: it is given batches, a loss, and a place to put checkpoints.

mod checkpoint;
mod early_stop;
mod fit;
mod optimizer;
mod schedule;
mod task;
#[cfg(test)]
mod tests;
mod update;

pub use checkpoint::{Best, Checkpoint, Progress, Row};
pub use early_stop::Tracker;
pub use fit::{Host, Setup, Step, fit};
pub use optimizer::{Optimizer, Parameter};
pub use task::{Batch, Batches, Feed, Scores, Task};

/// The versions of the numeric code paths here, for recipes: a change that moves a result raises its number.
pub const VERSIONS: &[(&str, u32)] = &[("optimizer", 1), ("schedule", 1)];
