//! Detection: from boxes to scores. Non-maximum suppression, COCO's matching and average precision, curves over
//! confidence, and the confusion matrix. Pure functions and data; nothing here draws or writes.
//!
//! Average precision and recall are those of pycocotools, with crowds, ignored objects, size ranges and at most 100
//! detections per image and class. All coordinates are pixels of the original image.

mod average_precision;
mod boxes;
mod confusion;
mod curves;
mod matching;
mod meter;
mod nms;
mod ranking;
mod scores;
#[cfg(test)]
mod tests;

pub use average_precision::{IOU_THRESHOLDS, RECALLS};
pub use boxes::{Detection, GroundTruth, SizeRange, intersection_over_union, overlap};
pub use confusion::{CONFUSION_CONFIDENCE, CONFUSION_IOU, DetectionConfusion};
pub use curves::{ClassCurves, DetectionCurves, POINTS, curve_position};
pub use meter::DetectionMetrics;
pub use nms::{Kept, LabelsPerBox, NmsSettings, non_maximum_suppression};
pub use scores::{ClassDetectionScores, DetectionScores};
