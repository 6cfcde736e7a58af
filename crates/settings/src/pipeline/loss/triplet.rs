//! The triplet loss of embeddings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LossSettings, LossWeights};

/// The batch-hard triplet loss (Hermans et al. 2017, arXiv 1703.07737): of each image, the farthest image of its class in the
/// batch shall be nearer than the nearest of another class. Distances are Euclidean, of embeddings at unit length. Needs the
/// sampler `p_k` and an embedding head with `classifier = false`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Triplet {
    /// By how much it shall be nearer, 0.2 by default. Two embeddings have a distance of at most 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2))]
    pub margin: Option<f64>,
    /// Takes log(1 + e^x) of the difference of both distances instead of a margin, so that it never ceases to count.
    #[serde(default)]
    pub soft_margin: bool,
}

impl Triplet {
    /// The margin, if it is not soft.
    pub fn margin(&self) -> Option<f64> {
        (!self.soft_margin).then(|| self.margin.unwrap_or(0.2))
    }
}

impl LossSettings for Triplet {
    fn weights(&self) -> Option<LossWeights<'_>> {
        None
    }

    fn compares_embeddings(&self) -> bool {
        true
    }
}
