//! The numeric code paths of metrics. A change that alters results needs a higher version.

use crate::code_path::code_paths;

code_paths! {
    CLASSIFICATION = "classification", 1;
    /// Macro averages over samples that may lack a class.
    ABSENT_CLASSES = "absent_classes", 1;
    /// Curves, calibration and confidence intervals of an evaluation's probabilities.
    PROBABILITIES = "probabilities", 1;
    MULTI_LABEL = "multi_label", 1;
    /// 2: the area of a box of whole pixels has no rounding error.
    DETECTION_METRICS = "detection_metrics", 2;
    DETECTION_ERRORS = "detection_errors", 1;
    /// The confidence intervals of average precision in an evaluation.
    DETECTION_INTERVALS = "detection_intervals", 1;
    /// Scores of subsets of an evaluation, and their table.
    SUBSETS = "subsets", 1;
    NON_MAXIMUM_SUPPRESSION = "non_maximum_suppression", 1;
    ENSEMBLE = "ensemble", 1;
    VERIFICATION = "verification", 1;
    /// 2: with confidence intervals.
    IDENTIFICATION = "identification", 2;
}
