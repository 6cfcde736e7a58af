//! The sampler of a train stage: which training images an epoch shows, and in which order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which training images an epoch shows, and in which order. All but `random` need one class per image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Sampler {
    Random(RandomSampler),
    Balanced(BalancedSampler),
    PK(PkSampler),
}

/// Each training image once in an epoch, in random order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomSampler {}

/// Each class equally often. An epoch has as many images as with `random`. A class shows its images in turn, over all
/// epochs: none comes again before all others did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BalancedSampler {}

/// Batches of P classes with K images of each (Hermans et al. 2017, arXiv 1703.07737), which `triplet` and `supcon` compare.
/// `batch_size` must be `classes` × `images`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PkSampler {
    /// The number of classes in a batch.
    #[schemars(range(min = 2, max = 65536))]
    pub classes: usize,
    /// The number of images of each of these classes. A class with fewer training images repeats them.
    #[schemars(range(min = 2, max = 65536))]
    pub images: usize,
}

impl PkSampler {
    /// The number of images in a batch.
    pub fn batch_size(&self) -> usize {
        self.classes.saturating_mul(self.images).max(1)
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::Random(RandomSampler {})
    }
}

impl Sampler {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The number of images that an epoch shows, for this number of training images. With `p_k`, the last batch is full too.
    pub fn epoch_images(&self, images: usize) -> usize {
        match self {
            Self::Random(_) | Self::Balanced(_) => images,
            Self::PK(sampler) => images.div_ceil(sampler.batch_size()).saturating_mul(sampler.batch_size()),
        }
    }

    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Random(_) => "random",
            Self::Balanced(_) => "balanced",
            Self::PK(_) => "p_k",
        }
    }
}
