//! Images compared by their embeddings, as written in an evaluate stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stage::EvaluationSplit;

/// Whether two images show one class, told by a threshold on the cosine similarity of their embeddings. The classes need
/// not be those of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// A CSV file of the pairs to compare, with the columns `first` and `second`: paths below the data set's root. Every
    /// two images of the split if left out. `${VAR}` is replaced from the environment.
    #[schemars(length(min = 1))]
    pub pairs: Option<String>,
    /// The false accept rates at which the true accept rates are told.
    #[serde(default = "default_far")]
    #[schemars(length(min = 1), inner(range(min = 0, max = 1)), extend("uniqueItems" = true))]
    pub far: Vec<f64>,
}

fn default_far() -> Vec<f64> {
    vec![0.001, 0.01, 0.1]
}

/// Whom an image shows, told by the most similar images of a gallery. The classes need not be those of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identification {
    /// The part of the data set that is searched; the stage's `split` if left out.
    pub gallery: Option<EvaluationSplit>,
    /// The part whose images are looked up; the stage's `split` if left out. Where that is the gallery too, each image is
    /// looked up among all others.
    pub query: Option<EvaluationSplit>,
}
