//! Metrics: from predictions to numbers. Pure functions; nothing here draws, writes or trains.

mod classification;

pub use classification::{ClassMetrics, Classification, ClassificationMetrics, cross_entropy, most_likely};

/// The versions of the numeric code paths here, for recipes: a change that moves a result raises its number.
pub const VERSIONS: &[(&str, u32)] = &[("classification", 1)];
