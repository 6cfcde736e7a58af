//! Metrics: from predictions and embeddings to numbers, and what each number is called. Pure functions and data; nothing
//! here draws, writes or trains.

mod classification;
pub mod code_paths;
mod embeddings;
mod ensemble;
mod identification;
mod metric;
mod multi_label;
mod similarities;
#[cfg(test)]
mod tests;
mod verification;

pub use classification::{ClassMetrics, Classification, ClassificationMetrics, cross_entropy, most_likely};
pub use embeddings::Embeddings;
pub use ensemble::MeanProbabilities;
pub use identification::Identification;
pub use metric::{AxisLabel, Direction, Format, Headline, Metric, Scores, TaskMetrics};
pub use multi_label::{LabelMetrics, MultiLabel, MultiLabelMetrics, THRESHOLD};
pub use similarities::{Pair, Similarities};
pub use verification::{RocPoint, TarAtFar, Verification};
