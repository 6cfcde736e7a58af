//! A comparison of embeddings.

use serde::Serialize;
use serde_json::json;

use crate::data::{Dataset, Split};
use crate::digest::Digest;
use crate::task::{GallerySearch, PairVerification, RecognitionSpec};

/// A comparison of embeddings. The identities are the classes of the data set.
#[derive(Serialize)]
pub struct RecognitionRecipe<'a> {
    identities: &'a [String],
    verification: Option<VerificationRecipe<'a>>,
    identification: Option<IdentificationRecipe>,
}

#[derive(Serialize)]
struct VerificationRecipe<'a> {
    split: Split,
    /// The digest of the paths of both images of each pair, where pairs are listed.
    pairs: Option<Digest>,
    far: &'a [f64],
}

#[derive(Serialize)]
struct IdentificationRecipe {
    gallery: Split,
    query: Split,
}

impl<'a> RecognitionRecipe<'a> {
    /// `split` is the evaluation's own.
    pub fn of(recognition: &'a RecognitionSpec, split: Split, dataset: &'a Dataset) -> Self {
        let digest = |pairs: &Vec<(usize, usize)>| {
            let path = |sample: usize| dataset.samples[sample].path.as_str();
            let paths: Vec<[&str; 2]> =
                pairs.iter().map(|&(first, second)| [path(first), path(second)]).collect();
            Digest::of_json(&json!(paths))
        };
        let verification = |PairVerification { pairs, far }: &'a PairVerification| VerificationRecipe {
            split,
            pairs: pairs.as_ref().map(digest),
            far,
        };
        let identification =
            |&GallerySearch { gallery, query }: &GallerySearch| IdentificationRecipe { gallery, query };
        Self {
            identities: &dataset.classes,
            verification: recognition.verification.as_ref().map(verification),
            identification: recognition.identification.as_ref().map(identification),
        }
    }
}
