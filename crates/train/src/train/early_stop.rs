//! Finds the best epoch, and decides when to stop early.

use serde::{Deserialize, Serialize};

use crate::pipeline::{EarlyStop, Monitor};

/// Tracks the monitored value over the epochs. Part of every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestTracker {
    monitor: Monitor,
    early_stop: Option<EarlyStop>,
    best: Option<BestEpoch>,
    /// The value that must improve by more than `min_delta` to reset patience.
    reference: Option<f64>,
    /// The epochs since then.
    waited: u32,
}

/// An epoch and its monitored value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestEpoch {
    pub epoch: u32,
    pub value: f64,
}

impl BestTracker {
    pub fn new(monitor: Monitor, early_stop: Option<EarlyStop>) -> Self {
        Self { monitor, early_stop, best: None, reference: None, waited: 0 }
    }

    /// Adds the value of an epoch; returns whether it is the best so far. Ties go to the earlier epoch, and a
    /// value that is not finite is never the best.
    pub fn observe(&mut self, epoch: u32, value: f64) -> bool {
        let improved = value.is_finite()
            && self.best.is_none_or(|best| self.monitor.improvement(value, best.value) > 0.0);
        if improved {
            self.best = Some(BestEpoch { epoch, value });
        }
        let min_delta = self.early_stop.as_ref().map_or(0.0, |stop| stop.min_delta);
        let counts =
            self.reference.is_none_or(|reference| self.monitor.improvement(value, reference) > min_delta);
        if value.is_finite() && counts {
            self.reference = Some(value);
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        improved
    }

    /// The best epoch, regardless of `min_delta`; `None` before the first finite value.
    pub fn best(&self) -> Option<BestEpoch> {
        self.best
    }

    /// Whether `patience` epochs in a row have brought no improvement by more than `min_delta`.
    pub fn should_stop(&self) -> bool {
        self.early_stop.as_ref().is_some_and(|stop| self.waited >= stop.patience)
    }

    /// Resets patience for a new phase.
    pub fn restore_patience(&mut self) {
        self.waited = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epochs that were best when they ended, and the epoch after which the stage stops.
    fn follow(monitor: Monitor, stop: Option<(u32, f64)>, values: &[f64]) -> (Vec<u32>, Option<u32>) {
        let stop = stop.map(|(patience, min_delta)| EarlyStop { patience, min_delta });
        let mut tracker = BestTracker::new(monitor, stop);
        let mut bests = Vec::new();
        for (epoch, value) in (0..).zip(values) {
            if tracker.observe(epoch, *value) {
                bests.push(epoch);
            }
            // Through serialization, as in a checkpoint.
            tracker = serde_json::from_str(&serde_json::to_string(&tracker).unwrap()).unwrap();
            assert_eq!(tracker.best().map(|best| best.epoch), bests.last().copied());
            if tracker.should_stop() {
                return (bests, Some(epoch));
            }
        }
        (bests, None)
    }

    #[test]
    fn a_loss_is_best_low_an_accuracy_high_and_ties_go_to_the_earlier() {
        let values = [0.5, 0.4, 0.4, 0.6, 0.3];
        assert_eq!(follow(Monitor::ValidationLoss, None, &values), (vec![0, 1, 4], None));
        assert_eq!(follow(Monitor::ValidationAccuracy, None, &values), (vec![0, 3], None));
        assert_eq!(follow(Monitor::ValidationMacroF1, None, &values), (vec![0, 3], None));
    }

    #[test]
    fn patience_counts_epochs_without_improvement() {
        let values = [0.5, 0.6, 0.4, 0.5, 0.4, 0.3];
        assert_eq!(follow(Monitor::ValidationLoss, Some((2, 0.0)), &values), (vec![0, 2], Some(4)));
        assert_eq!(follow(Monitor::ValidationLoss, Some((3, 0.0)), &values), (vec![0, 2, 5], None));
    }

    /// Small improvements are best epochs too, and reset patience once their sum exceeds the delta.
    #[test]
    fn small_improvements_move_the_best_but_not_the_patience() {
        let values = [0.50, 0.55, 0.60, 0.65];
        assert_eq!(follow(Monitor::ValidationAccuracy, Some((2, 0.2)), &values), (vec![0, 1, 2], Some(2)));
        assert_eq!(follow(Monitor::ValidationAccuracy, Some((2, 0.08)), &values), (vec![0, 1, 2, 3], None));
    }

    #[test]
    fn what_is_not_finite_is_never_the_best() {
        let values = [f64::NAN, 2.0, f64::NAN, 1.0];
        assert_eq!(follow(Monitor::ValidationLoss, None, &values), (vec![1, 3], None));
        assert_eq!(follow(Monitor::ValidationLoss, Some((1, 0.0)), &[f64::NAN]), (vec![], Some(0)));
    }
}
