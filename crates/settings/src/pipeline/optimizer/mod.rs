//! The optimizer and the parameter groups of a train stage: one file for each optimizer's settings.
//!
//! It reads settings and computes nothing: the steps are in `train/optimizer`.

mod adamw;
mod groups;
mod kinds;
mod sgd;

pub use adamw::AdamW;
pub use groups::{Group, Rates, Unfreeze};
pub use kinds::{Common, Conflict, Optimizer, OptimizerSettings};
pub use sgd::Sgd;
