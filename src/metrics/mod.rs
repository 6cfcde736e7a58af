//! Metrics: from predictions to numbers. Pure functions; nothing here draws, writes or trains.

mod classification;

pub use classification::{ClassMetrics, Classification, ClassificationMetrics, cross_entropy, most_likely};
