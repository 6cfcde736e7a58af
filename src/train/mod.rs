//! Training: the loop, optimizers, schedules, early stopping, checkpoints.
//!
//! The loop knows no tasks and no files: it is given batches, a loss, and a place to put checkpoints.

mod checkpoint;
mod early_stop;
mod fit;
mod optimizer;
mod plateau;
mod schedule;
mod task;
#[cfg(test)]
mod tests;
mod update;
mod versions;

pub use checkpoint::{Best, Checkpoint, Progress, Row};
pub use early_stop::Tracker;
pub use fit::{Host, Setup, Step, fit};
pub use optimizer::{Optimizer, Parameter};
pub use plateau::Plateau;
pub use task::{Batch, Batches, Feed, Scores, Targets, Task};
pub use versions::{OPTIONAL_VERSIONS, VERSIONS, optional_versions};
