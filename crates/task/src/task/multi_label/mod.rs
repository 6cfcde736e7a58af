//! Multi-label classification: any number of labels for each image, each predicted by itself.
//!
//! The network gives a score for each label. The folder knows nothing of images, files or stages.

mod predictions;
mod report;
mod targets;
mod task;

pub use report::{METRICS, REPORTING};
pub use task::MultiLabel;
