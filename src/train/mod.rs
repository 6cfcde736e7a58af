//! Training: the loop, optimizers, schedules, early stopping, checkpoints.
//!
//! The loop knows no tasks and no files: it is given batches, a loss, and a place to put checkpoints.

mod early_stop;
mod optimizer;
mod schedule;
mod update;

pub use early_stop::{Best, Tracker};
pub use optimizer::{Optimizer, Parameter};
