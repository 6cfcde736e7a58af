//! Knowledge distillation from a model that was trained before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Knowledge distillation: the predictions of a frozen teacher are a second target for each image. For classes of images:
/// Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network* (2015), §2. For boxes: binary cross-entropy of
/// class scores, and the distributions over distances as in Zheng et al., *Localization Distillation* (2022), §3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    /// The stage whose model is the teacher, such as `teacher@best`. It must predict the same classes.
    pub teacher: String,
    /// The logits of both models are divided by this before the softmax: over the classes of an image, or over the
    /// distances of a box's side. A higher temperature gives what is unlikely more weight.
    #[serde(default = "default_temperature")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// For classes of images: the weight of the teacher's term in the loss, 0.5 by default. The term of the labels has
    /// weight 1 − `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub weight: Option<f64>,
    /// For boxes: the weight of the teacher's class scores, added to the loss of the labels. 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub class_weight: Option<f64>,
    /// For boxes: the weight of the teacher's distributions over distances, added to the loss of the labels. 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub box_weight: Option<f64>,
}

impl Distill {
    /// For classes of images: the share of the teacher's term in the loss.
    pub fn weight(&self) -> f64 {
        self.weight.unwrap_or(0.5)
    }

    /// For boxes: the factors of the terms of classes and boxes.
    pub fn detection_weights(&self) -> [f64; 2] {
        [self.class_weight, self.box_weight].map(|weight| weight.unwrap_or(1.0))
    }
}

fn default_temperature() -> f64 {
    4.0
}
