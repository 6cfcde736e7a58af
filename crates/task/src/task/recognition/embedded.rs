//! Embeddings of images, by the positions of their samples.

use std::collections::BTreeMap;

use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::metrics::Embeddings;

/// Embeddings of the readable images, by the positions of their samples.
#[derive(Default)]
pub struct EmbeddedSamples {
    pub dimension: usize,
    pub rows: BTreeMap<usize, Vec<f32>>,
}

impl EmbeddedSamples {
    /// The embeddings of a split with their samples, in order.
    pub fn part(&self, split: Split, dataset: &Dataset) -> Result<(Embeddings, Vec<usize>)> {
        let samples: Vec<usize> =
            dataset.split(split).into_iter().filter(|sample| self.rows.contains_key(sample)).collect();
        let rows = samples.iter().flat_map(|sample| self.rows[sample].iter().copied()).collect();
        let identities = samples.iter().filter_map(|&sample| dataset.samples[sample].label.class()).collect();
        Ok((Embeddings::new(rows, self.dimension, identities)?, samples))
    }
}
