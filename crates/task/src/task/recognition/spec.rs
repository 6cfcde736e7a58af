//! The settings of an evaluation of embeddings.

use std::sync::Arc;

use serde_json::{Value, json};

use super::evaluator::EmbeddingEvaluator;
use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::digest::Digest;
use crate::metrics::code_paths::{IDENTIFICATION, VERIFICATION};
use crate::pipeline;
use crate::report::code_paths::RECOGNITION_PICTURES;
use crate::task::Evaluator;

/// The measurements of an evaluation of embeddings; at least one of the two.
#[derive(Clone, Debug, PartialEq)]
pub struct RecognitionSpec {
    pub verification: Option<PairVerification>,
    pub identification: Option<GallerySearch>,
}

/// Pairs of images of the evaluation's split.
#[derive(Clone, Debug, PartialEq)]
pub struct PairVerification {
    /// The positions of both samples in the data set. Without a list, all pairs of images in the split.
    pub pairs: Option<Vec<(usize, usize)>>,
    pub far: Vec<f64>,
}

/// Queries of one split, looked up in another split or among the other images of the same one.
#[derive(Clone, Debug, PartialEq)]
pub struct GallerySearch {
    pub gallery: Split,
    pub query: Split,
}

impl RecognitionSpec {
    /// As in the file, with the pairs that it lists.
    pub fn new(settings: &pipeline::Evaluate, pairs: Option<Vec<(usize, usize)>>) -> Self {
        let comparison =
            |verification: &pipeline::Verification| PairVerification { pairs, far: verification.far.clone() };
        let search = |identification: &pipeline::Identification| GallerySearch {
            gallery: identification.gallery.unwrap_or(settings.split),
            query: identification.query.unwrap_or(settings.split),
        };
        Self {
            verification: settings.verification.as_ref().map(comparison),
            identification: settings.identification.as_ref().map(search),
        }
    }

    /// The splits of the data set whose images are embedded.
    pub fn parts(&self, split: Split) -> Vec<Split> {
        let mut parts: Vec<Split> = Vec::new();
        parts.extend(self.verification.as_ref().map(|_| split));
        parts.extend(self.identification.iter().flat_map(|search| [search.gallery, search.query]));
        parts.sort_by_key(|part| *part as usize);
        parts.dedup();
        parts
    }

    /// Its settings in a recipe, without the images.
    pub fn document(&self, split: Split, dataset: &Dataset) -> Value {
        let pairs = |pairs: &Vec<(usize, usize)>| {
            let path = |sample: usize| dataset.samples[sample].path.as_str();
            let paths: Vec<[&str; 2]> =
                pairs.iter().map(|&(first, second)| [path(first), path(second)]).collect();
            Digest::of_json(&json!(paths))
        };
        json!({
            "identities": dataset.classes,
            "verification": self.verification.as_ref().map(|verification| json!({
                "split": split,
                "pairs": verification.pairs.as_ref().map(pairs),
                "far": verification.far,
            })),
            "identification": self.identification.as_ref().map(|search| json!({
                "gallery": search.gallery,
                "query": search.query,
            })),
        })
    }

    /// The code paths that can change the result.
    pub fn code_paths(&self) -> Vec<CodePath> {
        vec![VERIFICATION, IDENTIFICATION, RECOGNITION_PICTURES]
    }

    /// The evaluation of one model.
    pub fn evaluator(&self, dataset: &Arc<Dataset>, split: Split) -> Box<dyn Evaluator> {
        Box::new(EmbeddingEvaluator::new(self.clone(), Arc::clone(dataset), split))
    }
}
