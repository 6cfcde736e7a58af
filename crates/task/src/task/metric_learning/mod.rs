//! Metric learning: embeddings of one class shall be nearer to one another than to those of other classes. A model without
//! class scores predicts nothing: its embeddings are compared, by `recognition` in an evaluation.

mod meter;
mod report;
mod task;
#[cfg(test)]
mod tests;

pub use report::{METRICS, REPORTING};
pub use task::MetricLearning;
