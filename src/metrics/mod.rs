//! Metrics: from predictions and embeddings to numbers. Pure functions; nothing here draws, writes or trains.

mod classification;
mod embeddings;
mod ensemble;
mod identification;
mod multi_label;
mod similarities;
#[cfg(test)]
mod tests;
mod verification;

pub use classification::{ClassMetrics, Classification, ClassificationMetrics, cross_entropy, most_likely};
pub use embeddings::Embeddings;
pub use ensemble::MeanProbabilities;
pub use identification::Identification;
pub use multi_label::{LabelMetrics, MultiLabel, MultiLabelMetrics, THRESHOLD};
pub use similarities::{Pair, Similarities};
pub use verification::{RocPoint, TarAtFar, Verification};

/// The versions of the numeric code paths here, for recipes: a change that moves a result raises its number.
pub const VERSIONS: &[(&str, u32)] = &[("classification", 1)];
/// The same of paths that few stages take: they enter the recipes of those stages alone.
pub const RARE_VERSIONS: &[(&str, u32)] = &[("ensemble", 1)];
/// Those of evaluations that compare embeddings.
pub const EMBEDDING_VERSIONS: &[(&str, u32)] = &[("verification", 1), ("identification", 1)];
/// Those of stages on images with any number of labels.
pub const LABEL_VERSIONS: &[(&str, u32)] = &[("multi_label", 1)];
