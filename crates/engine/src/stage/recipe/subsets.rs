//! The subsets of an evaluation.

use serde::Serialize;
use serde_json::json;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::stage::{SubsetDivision, SubsetSpec};

/// A subset. Where values come from changes no result, so only they are part of it.
#[derive(Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum SubsetRecipe {
    /// The digest of the path and the value of each image.
    Images {
        values: Digest,
    },
    Difficult,
    Size,
    Mask {
        minimum: f64,
        /// The digest of the path of each image, and of the content of its mask.
        masks: Digest,
    },
}

impl SubsetRecipe {
    /// # Errors
    /// A bug: a mask without a digest.
    pub fn of(subset: &SubsetSpec) -> Result<Self> {
        Ok(match &subset.division {
            SubsetDivision::Images(values) => Self::Images { values: Digest::of_json(&json!(values)) },
            SubsetDivision::Difficult => Self::Difficult,
            SubsetDivision::Size => Self::Size,
            SubsetDivision::Masks { minimum, masks } => {
                let mut contents = Vec::new();
                for (image, mask) in masks {
                    let undigested = || Error::bug(format!("the mask of `{image}` has no digest"));
                    contents.push((image, mask.digest.ok_or_else(undigested)?));
                }
                Self::Mask { minimum: *minimum, masks: Digest::of_json(&json!(contents)) }
            }
        })
    }
}
