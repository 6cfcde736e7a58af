//! Curves: precision, recall and F1 over confidence, and precision over recall, all at an IoU of 0.5.
//!
//! They count what average precision counts: COCO's matches without what it ignores. Between two scores, precision and
//! recall over confidence are interpolated linearly, as detection packages draw them.

use super::average_precision::{Reached, mean, reached, sample};
use super::boxes::SizeRange;
use super::ranking::Ranking;

/// The number of points of a curve.
pub const POINTS: usize = 1000;

/// The width of the box filter that smooths F1 before its highest point is looked for: a tenth of the curve, odd.
const SMOOTHING: usize = 101;

/// The index of the lowest threshold in `IOU_THRESHOLDS`.
const HALF: usize = 0;

/// The confidence or recall of a point, from 0 to 1.
pub fn curve_position(point: usize) -> f64 {
    if point + 1 == POINTS { 1.0 } else { point as f64 * (1.0 / (POINTS - 1) as f64) }
}

/// The curves of one class, or their mean.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassCurves {
    /// Over confidence.
    pub precision: Vec<f64>,
    /// Over confidence.
    pub recall: Vec<f64>,
    /// Over confidence.
    pub f1: Vec<f64>,
    /// Over recall: the highest precision at this recall or a larger one, 0 where it is not reached.
    pub precision_by_recall: Vec<f64>,
}

/// The curves of all classes.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionCurves {
    /// `None` of a class without ground truth.
    pub classes: Vec<Option<ClassCurves>>,
    /// Over the classes that have ground truth; `None` if none has.
    pub mean: Option<ClassCurves>,
}

impl ClassCurves {
    /// `None` of a class without objects. `order` is that of the ranking.
    pub(super) fn of(ranking: &Ranking, order: &[usize], objects: u64) -> Option<Self> {
        if objects == 0 {
            return None;
        }
        let points = reached(ranking, order, SizeRange::All, HALF, objects);
        let precision_by_recall = sample(&points, (0..POINTS).map(curve_position));
        let (precision, recall) = by_confidence(&points);
        let f1 = precision.iter().zip(&recall).map(|(p, r)| f1(*p, *r)).collect();
        Some(Self { precision, recall, f1, precision_by_recall })
    }

    /// The point at which the smoothed F1 is highest, of equal ones that of the lowest confidence. `None` if F1 is 0
    /// everywhere.
    pub fn best_point(&self) -> Option<usize> {
        let smoothed = smooth(&self.f1);
        let better = |best: Option<usize>, point: usize| match best {
            Some(best) if smoothed[point] <= smoothed[best] => Some(best),
            _ => (smoothed[point] > 0.0).then_some(point),
        };
        (0..smoothed.len()).fold(None, better)
    }

    fn mean(all: &[&Self]) -> Option<Self> {
        let curve = |of: fn(&Self) -> &Vec<f64>| {
            let at = |point: usize| mean(&all.iter().map(|curves| of(curves)[point]).collect::<Vec<f64>>());
            (0..POINTS).map(at).collect()
        };
        (!all.is_empty()).then(|| Self {
            precision: curve(|curves| &curves.precision),
            recall: curve(|curves| &curves.recall),
            f1: curve(|curves| &curves.f1),
            precision_by_recall: curve(|curves| &curves.precision_by_recall),
        })
    }
}

impl DetectionCurves {
    pub(super) fn new(classes: Vec<Option<ClassCurves>>) -> Self {
        let mean = ClassCurves::mean(&classes.iter().flatten().collect::<Vec<_>>());
        Self { classes, mean }
    }

    /// The point of the one confidence at which precision, recall and F1 of all classes are reported.
    pub fn best_point(&self) -> Option<usize> {
        self.mean.as_ref()?.best_point()
    }
}

fn f1(precision: f64, recall: f64) -> f64 {
    2.0 * precision * recall / (precision + recall + 1e-16)
}

/// Precision and recall over rising confidence. Above the highest score nothing is found and nothing is wrong; below
/// the lowest, everything is counted. A class without detections has precision and recall 0.
fn by_confidence(points: &[Reached]) -> (Vec<f64>, Vec<f64>) {
    // Equal scores pass a confidence together, so that the order of images changes nothing.
    let steps: Vec<&Reached> = points.chunk_by(|a, b| a.score == b.score).filter_map(<[_]>::last).collect();
    let Some(last) = steps.last() else {
        return (vec![0.0; POINTS], vec![0.0; POINTS]);
    };
    let at = |confidence: f64| {
        let above = steps.partition_point(|step| f64::from(step.score) >= confidence);
        match (above.checked_sub(1).map(|at| steps[at]), steps.get(above)) {
            (None, _) => (1.0, 0.0),
            (Some(_), None) => (last.precision, last.recall),
            (Some(high), Some(low)) => {
                let (from, to) = (f64::from(high.score), f64::from(low.score));
                let between = |high: f64, low: f64| (low - high) / (from - to) * (from - confidence) + high;
                (between(high.precision, low.precision), between(high.recall, low.recall))
            }
        }
    };
    (0..POINTS).map(|point| at(curve_position(point))).unzip()
}

/// The mean of each point and the 50 on either side, where the ends are continued.
fn smooth(curve: &[f64]) -> Vec<f64> {
    let half = (SMOOTHING / 2) as isize;
    let value = |at: isize| curve[at.clamp(0, curve.len() as isize - 1) as usize];
    let around = |at: isize| (at - half..=at + half).map(value).sum::<f64>() / SMOOTHING as f64;
    (0..curve.len() as isize).map(around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves(f1: Vec<f64>) -> ClassCurves {
        ClassCurves { precision: f1.clone(), recall: f1.clone(), precision_by_recall: f1.clone(), f1 }
    }

    #[test]
    fn a_narrow_peak_is_not_the_best() {
        let mut f1 = vec![0.1; POINTS];
        f1[300..500].fill(0.5);
        f1[900] = 1.0;
        assert_eq!(curves(f1).best_point(), Some(350), "the first point whose surroundings are all high");
        assert_eq!(curves(vec![0.0; POINTS]).best_point(), None);
        assert_eq!(curves(vec![0.25; POINTS]).best_point(), Some(0));
    }

    #[test]
    fn equal_scores_pass_together() {
        let point = |score, precision, recall| Reached { score, precision, recall };
        let points = [point(0.75, 1.0, 0.25), point(0.75, 0.5, 0.25), point(0.25, 0.75, 1.0)];
        let (precision, recall) = by_confidence(&points);
        let near = |confidence: f64| (0..POINTS).find(|point| curve_position(*point) >= confidence).unwrap();
        assert_eq!((precision[near(0.751)], recall[near(0.751)]), (1.0, 0.0));
        assert_eq!((precision[near(0.2) - 1], recall[0]), (0.75, 1.0));
        assert!((precision[near(0.5)] - 0.625).abs() < 1e-3 && (recall[near(0.5)] - 0.625).abs() < 1e-3);
        assert_eq!(by_confidence(&[]).0[0], 0.0);
    }
}
