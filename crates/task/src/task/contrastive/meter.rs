//! The running sums of an epoch.

use serde::{Deserialize, Serialize};

use crate::ops::PairStatistics;
use crate::train::Scores;

/// Sums over views. Views of a batch with one image are left out: they have nothing to be compared with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContrastiveMeter {
    views: f64,
    loss: f64,
    matched: f64,
    squared_distance: f64,
    closeness: f64,
    /// The number of pairs in `closeness`.
    pairs: f64,
}

impl ContrastiveMeter {
    /// Adds a batch.
    pub fn add(&mut self, batch: &PairStatistics) {
        let PairStatistics { rows, loss, matched, squared_distance, closeness } = *batch;
        if rows <= 2.0 {
            return;
        }
        self.views += rows;
        self.loss += loss;
        self.matched += matched;
        self.squared_distance += squared_distance;
        self.closeness += closeness;
        self.pairs += rows * (rows - 1.0);
    }

    /// The scores of all batches; NaN without any.
    pub fn scores(&self) -> Scores {
        let named = [
            ("loss", self.loss / self.views),
            ("contrastive_accuracy", self.matched / self.views),
            ("alignment", self.squared_distance / self.views),
            ("uniformity", libm::log(self.closeness / self.pairs)),
        ];
        named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
