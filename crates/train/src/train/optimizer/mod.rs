//! Optimizers: one file for each one's step, and the state of the parameters that train.
//!
//! An optimizer knows no schedule and no freezing rule: the table of parameters has the learning rate of each.

mod adamw;
#[cfg(all(test, feature = "cuda"))]
mod cuda_tests;
mod rule;
mod sgd;
mod state;
#[cfg(test)]
mod tests;

pub use state::{Optimizer, Parameter};
