//! Confidence intervals of average precision, by the bootstrap over images.

use super::average_precision::{IOU_THRESHOLDS, Reached, average, mean, mean_of_known};
use super::boxes::{Detection, GroundTruth, SizeRange};
use super::matching::{Outcome, by_score, match_class};
use crate::metrics::bootstrap::{Intervals, SampleScores, bootstrap};

/// More detections than this get no interval, since every sample needs all of them.
const MOST_DETECTIONS: usize = 3_000_000;

/// One class: the objects of each image, and all detections by falling score.
struct RankedClass {
    objects: Vec<u64>,
    detections: Vec<(usize, f32, Outcome)>,
}

/// The intervals of `ap50_95`, `ap50` and `ap75`. Each image has its detections, after non-maximum suppression, and its
/// objects. `groups` has the group of each image, counted from 0. There are none of more than three million detections.
pub fn intervals(
    images: &[(Vec<Detection>, Vec<GroundTruth>)],
    classes: usize,
    groups: &[usize],
) -> Intervals {
    if images.iter().map(|(detections, _)| detections.len()).sum::<usize>() > MOST_DETECTIONS {
        return Intervals::new();
    }
    let ranked: Vec<RankedClass> = (0..classes).map(|class| RankedClass::of(images, class as u32)).collect();
    bootstrap(groups, |weights| {
        let of_classes: Vec<_> = ranked.iter().map(|class| class.precisions(weights)).collect();
        let mean_of = |which: &dyn Fn(&[f64; IOU_THRESHOLDS.len()]) -> f64| {
            mean_of_known(of_classes.iter().map(|of_class| of_class.as_ref().map(which)))
        };
        SampleScores::from([
            ("ap50_95", mean_of(&|precisions| mean(precisions))),
            ("ap50", mean_of(&|precisions| precisions[0])),
            ("ap75", mean_of(&|precisions| precisions[5])),
        ])
    })
}

impl RankedClass {
    fn of(images: &[(Vec<Detection>, Vec<GroundTruth>)], class: u32) -> Self {
        let mut ranked = Self { objects: Vec::with_capacity(images.len()), detections: Vec::new() };
        for (image, (found, truth)) in images.iter().enumerate() {
            let truth: Vec<&GroundTruth> = truth.iter().filter(|object| object.class == class).collect();
            ranked.objects.push(truth.iter().filter(|object| object.counts()).count() as u64);
            let found = found.iter().filter(|each| each.class == class && each.score.is_finite());
            let matched = match_class(found.map(|each| (each, true)).collect(), &truth);
            ranked.detections.extend(matched.into_iter().map(|(score, outcome)| (image, score, outcome)));
        }
        ranked.detections.sort_by(|(_, a, _), (_, b, _)| by_score(*a, *b));
        ranked
    }

    /// The average precision at each threshold in a sample that has each image as often as `weights` says. `None`
    /// without objects.
    fn precisions(&self, weights: &[u64]) -> Option<[f64; IOU_THRESHOLDS.len()]> {
        let objects: u64 = self.objects.iter().zip(weights).map(|(objects, weight)| objects * weight).sum();
        (objects > 0).then(|| {
            std::array::from_fn(|threshold| {
                let (mut hits, mut count) = (0, 0);
                let counted = self.detections.iter().filter(|(image, _, outcome)| {
                    weights[*image] > 0 && !outcome.is_ignored(SizeRange::All, threshold)
                });
                let points: Vec<Reached> = counted
                    .map(|(image, score, outcome)| {
                        count += weights[*image];
                        hits += if outcome.is_hit(SizeRange::All, threshold) { weights[*image] } else { 0 };
                        let [precision, recall] = [count, objects].map(|whole| hits as f64 / whole as f64);
                        Reached { score: *score, precision, recall }
                    })
                    .collect();
                average(&points)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::DetectionMetrics;
    use super::*;

    /// Images with two objects each, of which detections find some.
    fn images(count: usize) -> Vec<(Vec<Detection>, Vec<GroundTruth>)> {
        let mut state = 1u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1u32 << 24)
        };
        (0..count)
            .map(|_| {
                let truth = |class, left: f64| GroundTruth {
                    class,
                    corners: [left, 0.0, left + 40.0, 40.0],
                    area: 1600.0,
                    crowd: false,
                    ignored: false,
                };
                let truths = vec![truth(0, 0.0), truth(1, 100.0)];
                let found = truths.iter().map(|object| {
                    let shift = 30.0 * draw();
                    let [left, top, right, bottom] = object.corners;
                    let corners = [left + shift, top, right + shift, bottom];
                    Detection { class: object.class, score: draw() as f32, corners }
                });
                (found.collect(), truths)
            })
            .collect()
    }

    #[test]
    fn a_sample_with_every_image_once_has_the_scores_of_the_evaluation() {
        let images = images(40);
        let mut metrics = DetectionMetrics::new(2);
        images.iter().for_each(|(found, truth)| metrics.update(found, truth).unwrap());
        let scores = metrics.finish(&["a", "b"].map(str::to_owned)).unwrap();
        let once = vec![1; images.len()];
        let of = |class| RankedClass::of(&images, class).precisions(&once).unwrap();
        let mean_of = |which: &dyn Fn(&[f64; 10]) -> f64| (which(&of(0)) + which(&of(1))) / 2.0;
        assert!((mean_of(&|all| mean(all)) - scores.ap50_95.unwrap()).abs() < 1e-12);
        assert!((mean_of(&|all| all[0]) - scores.ap50.unwrap()).abs() < 1e-12);
        assert!((mean_of(&|all| all[5]) - scores.ap75.unwrap()).abs() < 1e-12);
    }

    #[test]
    fn intervals_contain_the_score_and_are_narrower_with_more_images() {
        let width = |count: usize| {
            let images = images(count);
            let groups: Vec<usize> = (0..count).collect();
            let found = intervals(&images, 2, &groups);
            let mut metrics = DetectionMetrics::new(2);
            images.iter().for_each(|(found, truth)| metrics.update(found, truth).unwrap());
            let scores = metrics.finish(&["a", "b"].map(str::to_owned)).unwrap();
            let [low, high] = found["ap50"];
            assert!(low < scores.ap50.unwrap() && scores.ap50.unwrap() < high, "{low} {high}");
            assert_eq!(found.keys().collect::<Vec<_>>(), ["ap50", "ap50_95", "ap75"]);
            high - low
        };
        let (few, many) = (width(20), width(320));
        assert!(few > 2.0 * many, "{few} and {many}");
        // Without objects there is nothing to score; one group is always the same sample.
        assert!(intervals(&[(Vec::new(), Vec::new())], 1, &[0]).is_empty());
        let one = intervals(&images(5), 2, &[0; 5]);
        assert!(one.values().all(|[low, high]| low == high));
    }
}
