//! The loss of object detection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};
use crate::pipeline::LabelKind;

/// The loss of YOLO11's detection head: task-aligned assignment (Feng et al. 2021), complete IoU of boxes, distribution
/// focal loss of their sides, and binary cross-entropy of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectionLoss {
    /// The weight of the box term, 1 − CIoU.
    #[serde(default = "default_box_gain")]
    #[schemars(range(min = 0))]
    pub box_gain: f64,
    /// The weight of the class term.
    #[serde(default = "default_class_gain")]
    #[schemars(range(min = 0))]
    pub class_gain: f64,
    /// The weight of the distribution focal loss.
    #[serde(default = "default_dfl_gain")]
    #[schemars(range(min = 0))]
    pub dfl_gain: f64,
    /// Whether the gradients of an optimizer step are the mean over its images, or their sum as in published training.
    #[serde(default)]
    pub reduction: Reduction,
}

/// How the images of an optimizer step are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The gradient grows with the number of images. Published learning rates of SGD are for this.
    #[default]
    Sum,
    /// The gradient does not depend on the number of images.
    Mean,
}

fn default_box_gain() -> f64 {
    7.5
}

fn default_class_gain() -> f64 {
    0.5
}

fn default_dfl_gain() -> f64 {
    1.5
}

impl Default for DetectionLoss {
    fn default() -> Self {
        Self {
            box_gain: default_box_gain(),
            class_gain: default_class_gain(),
            dfl_gain: default_dfl_gain(),
            reduction: Reduction::default(),
        }
    }
}

impl LossSettings for DetectionLoss {
    fn label_kind(&self) -> LabelKind {
        LabelKind::Boxes
    }

    fn weights(&self) -> Option<LossWeights<'_>> {
        None
    }
}
