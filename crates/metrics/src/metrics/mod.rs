//! Metrics: from predictions and embeddings to numbers, and what each number is called. Pure functions and data; nothing
//! here draws, writes or trains.

mod bootstrap;
mod classification;
pub mod code_paths;
pub mod detection;
mod embeddings;
mod ensemble;
mod identification;
mod metric;
mod multi_label;
pub mod probabilities;
mod rankings;
mod similarities;
#[cfg(test)]
mod tests;
mod verification;

pub use bootstrap::{CONFIDENCE_LEVEL, Intervals, RESAMPLES};
pub use classification::{
    ClassMetrics, ClassificationMetrics, ClassificationScores, cross_entropy, most_likely,
};
pub use embeddings::Embeddings;
pub use ensemble::MeanProbabilities;
pub use identification::IdentificationMetrics;
pub use metric::{AxisLabel, Direction, Headline, Metric, MetricFormat, Scores, TaskMetrics};
pub use multi_label::{LabelMetrics, MultiLabelMetrics, MultiLabelScores, THRESHOLD};
pub use rankings::Rankings;
pub use similarities::{SimilarPair, Similarities};
pub use verification::{RocPoint, TarAtFar, VerificationMetrics, shortest};
