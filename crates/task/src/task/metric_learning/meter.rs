//! The running sums of an epoch, and the embeddings of a validation.

use serde::{Deserialize, Serialize};

use crate::ops::AnchorStatistics;
use crate::train::Scores;

/// In training, sums over the anchors of batches. In a validation, the embeddings of all images, which are compared at its end:
/// a batch of validation images may have one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricMeter {
    anchors: f64,
    loss: f64,
    matched: f64,
    /// The mean average precision of a validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    map: Option<f64>,
    /// A checkpoint has the scores alone, since it is written after a validation.
    #[serde(skip)]
    pub(super) validation: Option<ValidationEmbeddings>,
}

/// Embeddings [N, D], row by row, and the class of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidationEmbeddings {
    pub rows: Vec<f32>,
    pub classes: Vec<u32>,
}

/// The scores of a validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidationScores {
    pub statistics: AnchorStatistics,
    /// The fraction of images whose nearest other image is of their class.
    pub rank1: f64,
    pub map: f64,
}

impl MetricMeter {
    pub fn of_validation() -> Self {
        Self { validation: Some(ValidationEmbeddings::default()), ..Self::default() }
    }

    /// Adds the sums of a batch.
    pub fn add(&mut self, batch: &AnchorStatistics) {
        self.anchors += batch.anchors;
        self.loss += batch.loss;
        self.matched += batch.matched;
    }

    /// Of a validation that is complete.
    pub fn finished(scores: &ValidationScores) -> Self {
        let AnchorStatistics { anchors, loss, .. } = scores.statistics;
        Self { anchors, loss, matched: scores.rank1 * anchors, map: Some(scores.map), validation: None }
    }

    /// The scores so far; NaN without any anchor.
    pub fn scores(&self) -> Scores {
        let mut scores = Scores::from([
            ("loss".to_owned(), self.loss / self.anchors),
            ("rank1".to_owned(), self.matched / self.anchors),
        ]);
        // A validation that is not complete has none yet.
        let map = self.map.or(self.validation.as_ref().map(|_| f64::NAN));
        scores.extend(map.map(|map| ("map".to_owned(), map)));
        scores
    }
}
