//! Average precision and recall as pycocotools computes them.
//!
//! The precision at a recall is the highest precision at this recall or a larger one. It is taken at 101 recalls without
//! interpolation, at the first point that reaches the recall, and is 0 if none does. The mean of the 101 is the average
//! precision.

use super::boxes::SizeRange;
use super::ranking::Ranking;

/// numpy's `linspace(0.5, 0.95, 10)`, to the bit.
pub const IOU_THRESHOLDS: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.8999999999999999, 0.95];

/// The number of recalls, 0 to 1, at which precision is taken.
pub const RECALLS: usize = 101;

/// One class in one range of sizes, by threshold of intersection over union.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Averages {
    pub(super) precision: [f64; 10],
    pub(super) recall: [f64; 10],
}

/// Hits and mistakes among the best detections up to one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reached {
    pub(super) score: f32,
    pub(super) precision: f64,
    pub(super) recall: f64,
}

impl Averages {
    /// `None` of a class without objects in the range.
    pub(super) fn of(ranking: &Ranking, order: &[usize], range: SizeRange, objects: u64) -> Option<Self> {
        if objects == 0 {
            return None;
        }
        let mut averages = Self { precision: [0.0; 10], recall: [0.0; 10] };
        for threshold in 0..IOU_THRESHOLDS.len() {
            let points = reached(ranking, order, range, threshold, objects);
            averages.precision[threshold] = average(&points);
            averages.recall[threshold] = points.last().map_or(0.0, |point| point.recall);
        }
        Some(averages)
    }

    /// The mean over thresholds.
    pub(super) fn mean_precision(&self) -> f64 {
        mean(&self.precision)
    }
}

/// Precision and recall after each detection that counts, by falling score.
pub(super) fn reached(
    ranking: &Ranking,
    order: &[usize],
    range: SizeRange,
    threshold: usize,
    objects: u64,
) -> Vec<Reached> {
    let counted = order.iter().map(|at| ranking.get(*at));
    let counted = counted.filter(|(_, outcome)| !outcome.is_ignored(range, threshold));
    reached_by(counted.map(|(score, outcome)| (score, outcome.is_hit(range, threshold))), objects)
}

/// The same for detections that count, each with its score and whether it is a hit, by falling score.
pub(super) fn reached_by(counted: impl Iterator<Item = (f32, bool)>, objects: u64) -> Vec<Reached> {
    let (mut hits, mut count) = (0u64, 0u64);
    let reach = counted.map(|(score, is_hit)| {
        count += 1;
        hits += u64::from(is_hit);
        Reached { score, precision: hits as f64 / count as f64, recall: hits as f64 / objects as f64 }
    });
    reach.collect()
}

/// The mean precision at the 101 recalls.
pub(super) fn average(points: &[Reached]) -> f64 {
    // The spacing of numpy's `linspace`; i / 100 is not always the same number.
    let sampled = sample(points, (0..RECALLS).map(|i| i as f64 * 0.01));
    sampled.iter().sum::<f64>() / RECALLS as f64
}

/// The envelope of precision at each recall; `recalls` rise.
pub(super) fn sample(points: &[Reached], recalls: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut envelope: Vec<f64> = points.iter().map(|point| point.precision).collect();
    for at in (1..envelope.len()).rev() {
        envelope[at - 1] = envelope[at - 1].max(envelope[at]);
    }
    let mut at = 0;
    let precision = |recall: f64| {
        while points.get(at).is_some_and(|point| point.recall < recall) {
            at += 1;
        }
        envelope.get(at).copied().unwrap_or(0.0)
    };
    recalls.map(precision).collect()
}

/// The mean; 0 of nothing.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The mean of the values that are there; `None` if none is.
pub(super) fn mean_of_known(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.flatten().collect();
    (!known.is_empty()).then(|| mean(&known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_beyond_the_last_recall_is_zero() {
        let point = |precision, recall| Reached { score: 0.5, precision, recall };
        let points = [point(0.5, 0.25), point(1.0, 0.5)];
        assert_eq!(sample(&points, [0.0, 0.25, 0.3, 0.5, 0.51].into_iter()), [1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(sample(&[], [0.0, 1.0].into_iter()), [0.0, 0.0]);
    }

    #[test]
    fn means_leave_out_what_is_unknown() {
        assert_eq!(mean_of_known([Some(1.0), None, Some(0.0)].into_iter()), Some(0.5));
        assert_eq!(mean_of_known([None].into_iter()), None);
    }
}
