//! Decisions from probabilities in an evaluation: thresholds and calibration, both fitted on the validation split.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the probability from which a class is predicted is chosen for each class, against all others. It is chosen on the
/// validation images, and measured on those of the stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Thresholds {
    BestF1(BestF1Threshold),
    Youden(YoudenThreshold),
    Specificity(SpecificityThreshold),
    Sensitivity(SensitivityThreshold),
}

/// The threshold with the highest F1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BestF1Threshold {}

/// The threshold with the highest sensitivity + specificity − 1 (Youden 1950).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YoudenThreshold {}

/// The threshold with the highest sensitivity among those with a sufficient specificity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpecificityThreshold {
    /// The smallest specificity: of the images without the class, the part that is not predicted to have it.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub minimum: f64,
}

/// The threshold with the highest specificity among those with a sufficient sensitivity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SensitivityThreshold {
    /// The smallest sensitivity (recall): of the images with the class, the part that is predicted to have it.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub minimum: f64,
}

/// How probabilities are corrected, so that they are as high as the part of images for which they come true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Calibration {
    Temperature(TemperatureScaling),
}

/// Divides all logits by one number, with which the loss of the validation images is smallest (Guo et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemperatureScaling {}
