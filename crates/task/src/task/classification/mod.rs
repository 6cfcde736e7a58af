//! Classification: one class for each image.
//!
//! The network gives a score for each class. This folder does not depend on images, files or stages.

mod comparison;
mod ensemble;
mod loss;
mod predictions;
mod report;
mod subsets;
mod targets;
mod task;

pub use report::{METRICS, REPORTING};
#[cfg(test)]
pub use targets::ClassTargets;
pub use task::Classification;
