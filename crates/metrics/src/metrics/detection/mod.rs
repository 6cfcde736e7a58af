//! Detection: from boxes to scores. Non-maximum suppression, COCO's matching and average precision, curves over
//! confidence, the confusion matrix, and types of errors with their costs. Pure functions and data; nothing here draws or writes.
//!
//! Average precision and recall are those of pycocotools, with crowds, ignored objects, size ranges and at most 100
//! detections per image and class. All coordinates are pixels of the original image.

mod average_precision;
mod boxes;
mod confusion;
mod curves;
mod error_scores;
#[cfg(test)]
mod error_tests;
mod errors;
mod intervals;
mod matching;
mod meter;
mod nms;
mod oracles;
mod ranking;
mod scores;
#[cfg(test)]
mod tests;

pub use average_precision::{IOU_THRESHOLDS, RECALLS};
pub use boxes::{Detection, GroundTruth, SizeRange, box_area, contained, intersection_over_union};
pub use confusion::{CONFUSION_CONFIDENCE, CONFUSION_IOU, DetectionConfusion};
pub use curves::{ClassCurves, DetectionCurves, POINTS, curve_position};
pub use error_scores::{ClassConfusion, ClassErrors, DetectionErrors, ErrorCost, ErrorSummary, Tally};
pub use errors::{
    BACKGROUND_IOU, ErrorKind, FOREGROUND_IOU, ImageErrors, OverlappedObject, SoughtObject, Verdict,
};
pub use intervals::intervals;
pub use meter::DetectionMetrics;
pub use nms::{Kept, LabelsPerBox, NmsSettings, non_maximum_suppression};
pub use oracles::{ErrorAnalysis, EvaluatedImage};
pub use scores::{ClassDetectionScores, DetectionScores, SubsetScores};
