//! The images of a split.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::data::{Dataset, Split};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};

/// The images of one split: how many, and a digest of their paths, labels and contents in order.
#[derive(Serialize)]
pub struct SplitRecipe {
    images: usize,
    digest: Digest,
}

impl SplitRecipe {
    fn of(dataset: &Dataset, split: Split, uses_labels: bool) -> Result<Self> {
        let samples = dataset.split(split);
        let digest = dataset.derived.digest(split, uses_labels, || {
            let mut hasher = Hasher::default();
            for &index in &samples {
                let sample = &dataset.samples[index];
                let undigested = || Error::bug(format!("`{}` has no digest", sample.path));
                let digest: Digest = sample.digest.ok_or_else(undigested)?;
                let label = if uses_labels { sample.label.recipe_text() } else { String::new() };
                hasher.update(format!("{}\0{label}\0{digest}\n", sample.path).as_bytes());
            }
            Ok(hasher.finish())
        })?;
        Ok(Self { images: samples.len(), digest })
    }

    /// Each of some splits, by its name.
    ///
    /// # Errors
    /// A bug: an image without a digest.
    pub fn by_name(dataset: &Dataset, splits: &[Split]) -> Result<BTreeMap<&'static str, Self>> {
        splits.iter().map(|split| Ok((split.name(), Self::of(dataset, *split, true)?))).collect()
    }

    /// As [`SplitRecipe::by_name`], for a task that ignores annotations.
    ///
    /// # Errors
    /// A bug: an image without a digest.
    pub fn without_labels(dataset: &Dataset, splits: &[Split]) -> Result<BTreeMap<&'static str, Self>> {
        splits.iter().map(|split| Ok((split.name(), Self::of(dataset, *split, false)?))).collect()
    }
}
