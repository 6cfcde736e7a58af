//! One class against all others: images ranked by their probability of the class.
//!
//! Definitions are scikit-learn's: `roc_auc_score`, `average_precision_score`. Images with the same probability share a
//! threshold, and are accepted together.

use crate::metrics::classification::ratio;

/// A threshold with the images whose probability reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Step {
    pub threshold: f32,
    /// Images of the class among them.
    pub hits: u64,
    /// The others among them.
    pub false_alarms: u64,
}

/// Images ranked by their probability of one class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassRanking {
    /// From the highest threshold.
    pub(super) steps: Vec<Step>,
    pub(super) positives: u64,
    pub(super) negatives: u64,
}

/// A receiver operating characteristic and a precision-recall curve.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedCurves {
    /// The sensitivity at each false positive rate; between two thresholds it is interpolated.
    pub sensitivity: Vec<f64>,
    /// The precision at each recall: of the highest threshold that reaches it.
    pub precision: Vec<f64>,
}

impl ClassRanking {
    /// `probabilities` and `truths` have an element for each image.
    pub fn new(probabilities: &[f32], truths: &[bool]) -> Self {
        let mut order: Vec<usize> = (0..truths.len().min(probabilities.len())).collect();
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        let mut at = Step::default();
        let mut steps = Vec::new();
        for tied in order.chunk_by(|a, b| probabilities[*a] == probabilities[*b]) {
            let hits = tied.iter().filter(|image| truths[**image]).count() as u64;
            at = Step {
                threshold: probabilities[tied[0]],
                hits: at.hits + hits,
                false_alarms: at.false_alarms + tied.len() as u64 - hits,
            };
            steps.push(at);
        }
        Self { steps, positives: at.hits, negatives: at.false_alarms }
    }

    /// The number of images of the class.
    pub fn positives(&self) -> u64 {
        self.positives
    }

    /// The area under the ROC curve: the share of pairs of an image of the class and another in which the former has the
    /// higher probability; equal ones count half. `None` if either is missing.
    pub fn auc(&self) -> Option<f64> {
        let (mut before, mut twice) = (Step::default(), 0u128);
        for at in &self.steps {
            twice += u128::from(at.false_alarms - before.false_alarms) * u128::from(at.hits + before.hits);
            before = *at;
        }
        let pairs = u128::from(self.positives) * u128::from(self.negatives);
        (pairs > 0).then(|| twice as f64 / (2 * pairs) as f64)
    }

    /// Σ (recall − previous recall) · precision over falling thresholds; 0 without an image of the class.
    pub fn average_precision(&self) -> f64 {
        let (mut before, mut sum) = (0, 0.0);
        for at in &self.steps {
            sum += ratio(at.hits - before, self.positives) * ratio(at.hits, at.hits + at.false_alarms);
            before = at.hits;
        }
        sum
    }

    /// The highest sensitivity of a threshold whose specificity is at least this, without interpolation. `None` if no image
    /// has the class, or all have it.
    pub fn sensitivity_at(&self, specificity: f64) -> Option<f64> {
        if self.positives == 0 || self.negatives == 0 {
            return None;
        }
        let within = |at: &&Step| self.specificity(at) >= specificity;
        Some(ratio(self.steps.iter().take_while(within).last().map_or(0, |at| at.hits), self.positives))
    }

    /// Both curves at the false positive rates, or recalls, `x`: ascending, from 0 to 1.
    pub fn curves(&self, x: &[f64]) -> RankedCurves {
        RankedCurves {
            sensitivity: x.iter().map(|rate| self.sensitivity_at_rate(*rate)).collect(),
            precision: x.iter().map(|recall| self.precision_at(*recall)).collect(),
        }
    }

    fn sensitivity_at_rate(&self, rate: f64) -> f64 {
        if self.positives == 0 || self.negatives == 0 {
            return f64::NAN;
        }
        let place = |at: &Step| (ratio(at.false_alarms, self.negatives), ratio(at.hits, self.positives));
        let passed = self.steps.partition_point(|at| place(at).0 <= rate);
        let (from, low) = passed.checked_sub(1).map_or((0.0, 0.0), |last| place(&self.steps[last]));
        match self.steps.get(passed).map(place) {
            Some((to, high)) => low + (high - low) * (rate - from) / (to - from),
            None => low,
        }
    }

    fn precision_at(&self, recall: f64) -> f64 {
        if self.positives == 0 {
            return f64::NAN;
        }
        let reached = self.steps.partition_point(|at| {
            let found = ratio(at.hits, self.positives);
            found < recall || at.hits == 0
        });
        self.steps.get(reached).map_or(f64::NAN, |at| ratio(at.hits, at.hits + at.false_alarms))
    }

    pub(super) fn specificity(&self, at: &Step) -> f64 {
        ratio(self.negatives - at.false_alarms, self.negatives)
    }
}
