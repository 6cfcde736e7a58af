//! The running sums of the loss's terms, and the scores of a validation.

use serde::{Deserialize, Serialize};

use crate::metrics::detection::DetectionMetrics;
use crate::train::Scores;

/// The meter: means of the terms over images, and in a validation all that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectionMeter {
    images: f64,
    /// Sums over images of the weighted terms: boxes, classes, distances.
    terms: [f64; 3],
    /// Sums over images of the distillation's weighted terms: classes, boxes. `None` without a teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distilled: Option<[f64; 2]>,
    /// `None` in training.
    pub metrics: Option<DetectionMetrics>,
}

/// The names of the terms, in order.
pub const TERMS: [&str; 3] = ["box_loss", "class_loss", "dfl_loss"];

/// The names of the distillation's terms, in order.
pub const DISTILLED: [&str; 2] = ["distill_class_loss", "distill_box_loss"];

impl DetectionMeter {
    pub fn new(metrics: Option<DetectionMetrics>) -> Self {
        Self { images: 0.0, terms: [0.0; 3], distilled: None, metrics }
    }

    /// Adds the terms of a batch, which are means over its images.
    pub fn add(&mut self, terms: &[f64], images: f64) {
        self.images += images;
        for (sum, term) in self.terms.iter_mut().zip(terms) {
            *sum += term * images;
        }
    }

    /// Adds the distillation's terms of a batch that was added already.
    pub fn add_distillation(&mut self, terms: &[f64], images: f64) {
        let sums = self.distilled.get_or_insert_default();
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += term * images;
        }
    }

    /// The loss of the labels and its terms, and the terms of the distillation.
    pub fn losses(&self) -> Scores {
        let means = self.terms.map(|sum| sum / self.images);
        let mut scores: Scores = TERMS.into_iter().map(str::to_owned).zip(means).collect();
        scores.insert("loss".to_owned(), means.iter().sum());
        let distilled = self.distilled.map(|sums| sums.map(|sum| sum / self.images));
        scores.extend(
            distilled.into_iter().flat_map(|means| DISTILLED.map(str::to_owned).into_iter().zip(means)),
        );
        scores
    }
}
