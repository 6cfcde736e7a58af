//! Multi-label classification: any number of labels for each image, each predicted independently.
//!
//! The network gives a score for each label. This folder does not depend on images, files or stages.

mod predictions;
mod report;
mod targets;
mod task;

pub use report::{METRICS, REPORTING};
pub use task::MultiLabel;
