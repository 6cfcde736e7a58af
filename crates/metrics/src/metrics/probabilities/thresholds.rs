//! The probability from which a class is predicted.

use serde::{Deserialize, Serialize};

use super::class_ranking::{ClassRanking, Step};
use crate::metrics::classification::ratio;

/// How a threshold is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdRule {
    /// The highest F1.
    BestF1,
    /// The highest sensitivity + specificity − 1 (Youden 1950).
    Youden,
    /// The highest sensitivity of a specificity of at least this.
    Specificity(f64),
    /// The highest specificity of a sensitivity of at least this.
    Sensitivity(f64),
}

/// The decisions of a threshold for one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionCounts {
    pub true_positives: u64,
    pub false_positives: u64,
    pub true_negatives: u64,
    pub false_negatives: u64,
}

impl ClassRanking {
    /// The threshold that the rule chooses: an image with at least this probability is predicted to have the class. Of equal
    /// ones, the highest. `None` if no image has the class, or no threshold keeps the rule.
    pub fn threshold(&self, rule: ThresholdRule) -> Option<f32> {
        if self.positives == 0 {
            return None;
        }
        let sensitivity = |at: &Step| ratio(at.hits, self.positives);
        // Without other images, every threshold has the highest specificity.
        let specificity = |at: &Step| if self.negatives == 0 { 1.0 } else { self.specificity(at) };
        let quality = |at: &Step| match rule {
            ThresholdRule::BestF1 => Some(ratio(2 * at.hits, at.hits + at.false_alarms + self.positives)),
            ThresholdRule::Youden => Some(sensitivity(at) + specificity(at) - 1.0),
            ThresholdRule::Specificity(least) => (specificity(at) >= least).then(|| sensitivity(at)),
            ThresholdRule::Sensitivity(least) => (sensitivity(at) >= least).then(|| specificity(at)),
        };
        let mut best: Option<(f64, f32)> = None;
        for at in &self.steps {
            let better = |found: f64| best.is_none_or(|(before, _)| found > before);
            // A threshold without a hit predicts the class of no image that has it.
            if let Some(found) = quality(at).filter(|found| at.hits > 0 && better(*found)) {
                best = Some((found, at.threshold));
            }
        }
        best.map(|(_, threshold)| threshold)
    }

    /// The decisions of a threshold; without one, no image is predicted to have the class.
    pub fn decisions(&self, threshold: Option<f32>) -> DecisionCounts {
        let reached = threshold.map_or(0, |least| self.steps.partition_point(|at| at.threshold >= least));
        let at = reached.checked_sub(1).map_or(Step::default(), |last| self.steps[last]);
        DecisionCounts {
            true_positives: at.hits,
            false_positives: at.false_alarms,
            true_negatives: self.negatives - at.false_alarms,
            false_negatives: self.positives - at.hits,
        }
    }
}

impl DecisionCounts {
    /// Of the images with the class, the share that is predicted to have it; 0 if there are none.
    pub fn sensitivity(&self) -> f64 {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Of the images without the class, the share that is predicted not to have it; 0 if there are none.
    pub fn specificity(&self) -> f64 {
        ratio(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Of the images that are predicted to have the class, the share that has it; 0 if there are none.
    pub fn precision(&self) -> f64 {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    pub fn f1(&self) -> f64 {
        let wrong = self.false_positives + self.false_negatives;
        ratio(2 * self.true_positives, 2 * self.true_positives + wrong)
    }
}
