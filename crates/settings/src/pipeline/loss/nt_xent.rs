//! The contrastive loss of two views of each image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};

/// SimCLR's loss (Chen et al. 2020, arXiv 2002.05709), which needs no labels: `augment` draws two views of each image, and
/// the projection of each view shall be nearer to the other view's than to those of all other images of the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NtXent {
    /// The cosines of projections are divided by this before the softmax. With a lower one, the nearest images of other
    /// pictures count more.
    #[serde(default = "default_temperature")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

fn default_temperature() -> f64 {
    0.1
}

impl LossSettings for NtXent {
    fn compares_views(&self) -> bool {
        true
    }

    fn weights(&self) -> Option<LossWeights<'_>> {
        None
    }
}
