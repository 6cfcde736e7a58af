//! The supervised contrastive loss of embeddings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};

/// The supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, eq. 2): each image shall be nearer to all others of its
/// class in the batch than to those of other classes. Needs the sampler `p_k` and an embedding head with `classifier =
/// false`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supcon {
    /// The cosines of embeddings are divided by this before the softmax. With a lower one, the nearest images of other
    /// classes count more.
    #[serde(default = "default_temperature")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
}

fn default_temperature() -> f64 {
    0.1
}

impl LossSettings for Supcon {
    fn weights(&self) -> Option<LossWeights<'_>> {
        None
    }

    fn compares_embeddings(&self) -> bool {
        true
    }
}
