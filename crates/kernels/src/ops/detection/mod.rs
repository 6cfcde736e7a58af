//! The training loss of anchor-free detection heads such as YOLO11's, and their decoded predictions.
//!
//! Per anchor point, the head predicts logits of each class, and for each side of a box a distribution over
//! distances. [`detection_loss`] assigns anchor points to objects and sums three terms; [`decode`] turns logits
//! into boxes and scores; [`detection_distillation`] compares a head with that of a teacher. Non-maximum suppression is not done here.

mod anchors;
mod assign;
#[cfg(feature = "cuda")]
mod cuda;
mod decode;
mod distillation;
mod gradient;
mod image;
mod iou;
mod loss;
mod positive;
#[cfg(test)]
mod tests;

pub use anchors::DetectionLevel;
pub use decode::{DecodedBoxes, decode};
pub use distillation::{DetectionDistillation, DistillationGains, detection_distillation};
pub use loss::{DetectionGains, DetectionLoss, TargetBox, detection_loss};
