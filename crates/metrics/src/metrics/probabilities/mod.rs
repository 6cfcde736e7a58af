//! Probabilities as the basis of decisions: rankings of one class against all others, thresholds, calibration, and the
//! confidence intervals of scores.

mod calibration;
mod class_ranking;
mod intervals;
mod labelled;
#[cfg(test)]
mod tests;
mod thresholds;

pub use calibration::{Calibration, ReliabilityBin, fit_temperature};
pub use class_ranking::{ClassRanking, RankedCurves};
pub use intervals::intervals;
pub use labelled::{LabelledProbabilities, Truths};
pub use thresholds::{DecisionCounts, ThresholdRule};
