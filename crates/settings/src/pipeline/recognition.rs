//! Comparison of images by their embeddings, as written in an evaluate stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::EvaluationSplit;

/// Decides for pairs of images whether they have the same class, by a threshold on the cosine similarity of their
/// embeddings. The classes may differ from those of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// A CSV file of the pairs to compare, with the columns `first` and `second`: paths below the data set's root. By
    /// default every pair of images in the split. `${VAR}` is replaced by the environment variable.
    #[schemars(length(min = 1))]
    pub pairs: Option<String>,
    /// False accept rates at which to report the true accept rate.
    #[serde(default = "default_far")]
    #[schemars(length(min = 1), inner(range(min = 0, max = 1)), extend("uniqueItems" = true))]
    pub far: Vec<f64>,
}

fn default_far() -> Vec<f64> {
    vec![0.001, 0.01, 0.1]
}

/// Identifies each query image by the most similar images of a gallery. The identity of an image is its class. The
/// classes may differ from those of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identification {
    /// The split to search in. Defaults to the stage's `split`.
    pub gallery: Option<EvaluationSplit>,
    /// The split of the query images. Defaults to the stage's `split`. If it is also the gallery, each image is
    /// searched for among all other images.
    pub query: Option<EvaluationSplit>,
}
