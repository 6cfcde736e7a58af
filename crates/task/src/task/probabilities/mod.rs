//! What the evaluations of classification and multi-label classification find in probabilities: rankings of each class
//! against the others, calibration, chosen thresholds, and confidence intervals of scores.

mod analysis;
mod decisions;
mod mistakes;
mod pictures;
mod report;
mod scores;

pub(super) use analysis::of_evaluation;
pub use decisions::Decisions;
pub(super) use mistakes::{FILES as MISTAKE_FILES, report_parts as mistake_parts};
pub(super) use report::{AUC, ECE, FILES, complete_tiles, of_document, report_parts};
pub use scores::{FittedScores, ThresholdScores};

use crate::code_path::CodePath;
use crate::metrics::code_paths::PROBABILITIES;
use crate::report::code_paths::{MISTAKE_PICTURES, PROBABILITY_PICTURES};

/// The code paths of [`of_evaluation`].
pub(super) const CODE_PATHS: [CodePath; 3] = [PROBABILITIES, PROBABILITY_PICTURES, MISTAKE_PICTURES];
