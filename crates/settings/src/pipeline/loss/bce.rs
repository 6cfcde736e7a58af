//! Binary cross-entropy of each label.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};
use crate::pipeline::{ClassWeights, LabelKind};

/// Binary cross-entropy of each label, averaged over images and labels. For multi-label data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bce {
    /// The weight of images that have a label, relative to images without it: a table by label, or `"balanced"`. This
    /// is PyTorch's `pos_weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_weights: Option<ClassWeights>,
}

impl LossSettings for Bce {
    fn weights(&self) -> Option<LossWeights<'_>> {
        self.positive_weights.as_ref().map(LossWeights::OfPositives)
    }

    fn label_kind(&self) -> LabelKind {
        LabelKind::Labels
    }
}
