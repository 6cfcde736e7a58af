//! COCO's matching of the detections and objects of one class in one image.
//!
//! Greedy by score, at each threshold of intersection over union by itself: a detection takes the free object that it
//! overlaps most. Objects that a model should find come first; only a detection that has none of them may take an
//! ignored one, and then counts for nothing. A crowd is never used up.

use super::average_precision::IOU_THRESHOLDS;
use super::boxes::{Detection, GroundTruth, SizeRange, box_area, overlap};

/// The most detections of a class in an image that are matched, by score.
pub(super) const DETECTIONS: usize = 100;

/// What a detection counts as. Arrays are by [`SizeRange`]; bit i of a number is for threshold i.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) hits: [u16; 4],
    /// Counts neither as a hit nor as a mistake.
    pub(super) ignored: [u16; 4],
}

impl Outcome {
    pub(super) fn is_hit(&self, range: SizeRange, threshold: usize) -> bool {
        self.hits[range as usize] >> threshold & 1 == 1
    }

    pub(super) fn is_ignored(&self, range: SizeRange, threshold: usize) -> bool {
        self.ignored[range as usize] >> threshold & 1 == 1
    }
}

/// By falling score; of equal scores the first stays first.
pub(super) fn by_score(a: f32, b: f32) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
}

/// The best of the detections by falling score, with what they count as. All are of one class and have a finite score.
/// One that takes nothing is a mistake only if it has `true`.
pub(super) fn match_class(
    mut detections: Vec<(&Detection, bool)>,
    truth: &[&GroundTruth],
) -> Vec<(f32, Outcome)> {
    detections.sort_by(|(a, _), (b, _)| by_score(a.score, b.score));
    detections.truncate(DETECTIONS);
    let (detections, counts): (Vec<&Detection>, Vec<bool>) = detections.into_iter().unzip();
    let overlaps = reachable(&detections, truth);
    let mut outcomes: Vec<(f32, Outcome)> =
        detections.iter().map(|each| (each.score, Outcome::default())).collect();
    for range in SizeRange::EVERY {
        let ignored = ignored(truth, range);
        let outside: Vec<bool> = detections
            .iter()
            .zip(&counts)
            .map(|(each, counts)| !counts || range.excludes(box_area(each.corners)))
            .collect();
        for (i, threshold) in IOU_THRESHOLDS.into_iter().enumerate() {
            let taken = take(&overlaps, threshold, truth, &ignored);
            for ((taken, outside), (_, outcome)) in taken.into_iter().zip(&outside).zip(&mut outcomes) {
                let (hit, skipped) = match taken {
                    Some(object) => (!ignored[object], ignored[object]),
                    None => (false, *outside),
                };
                outcome.hits[range as usize] |= u16::from(hit) << i;
                outcome.ignored[range as usize] |= u16::from(skipped) << i;
            }
        }
    }
    outcomes
}

/// What a detection takes at the lowest threshold, over all sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// An object that a model should find.
    Object(usize),
    /// A crowd, an ignored object, or nothing in a size that has no range: it does not count.
    Excused,
    Nothing,
}

/// What each of the detections of a class takes. They have finite scores, which fall, and are at most [`DETECTIONS`].
pub(super) fn take_at_half(detections: &[&Detection], truth: &[&GroundTruth]) -> Vec<Taken> {
    let range = SizeRange::All;
    let ignored = ignored(truth, range);
    let taken = take(&reachable(detections, truth), IOU_THRESHOLDS[0], truth, &ignored);
    let of_detection = |(taken, detection): (Option<usize>, &&Detection)| match taken {
        Some(object) if ignored[object] => Taken::Excused,
        Some(object) => Taken::Object(object),
        None if range.excludes(box_area(detection.corners)) => Taken::Excused,
        None => Taken::Nothing,
    };
    taken.into_iter().zip(detections).map(of_detection).collect()
}

/// The object that each detection takes, the best detection first. `overlaps` are those of [`reachable`].
fn take(
    overlaps: &[Vec<(usize, f64)>],
    threshold: f64,
    truth: &[&GroundTruth],
    ignored: &[bool],
) -> Vec<Option<usize>> {
    let mut taken = vec![false; truth.len()];
    let next = |overlaps: &Vec<(usize, f64)>| {
        let found = best(overlaps, threshold, ignored, |object| taken[object] && !truth[object].crowd);
        found.inspect(|object| taken[*object] = true)
    };
    overlaps.iter().map(next).collect()
}

/// The objects that each detection overlaps enough for the lowest threshold, in their order.
fn reachable(detections: &[&Detection], truth: &[&GroundTruth]) -> Vec<Vec<(usize, f64)>> {
    let of_detection = |detection: &&Detection| {
        let overlaps = truth.iter().map(|object| overlap(detection.corners, object)).enumerate();
        overlaps.filter(|(_, overlap)| *overlap >= IOU_THRESHOLDS[0]).collect()
    };
    detections.iter().map(of_detection).collect()
}

/// Which objects are none that a model should find in this range of sizes.
fn ignored(truth: &[&GroundTruth], range: SizeRange) -> Vec<bool> {
    truth.iter().map(|object| !object.counts() || range.excludes(object.area)).collect()
}

/// The object with the largest overlap, of equal ones the last as in pycocotools. Those that are not ignored have
/// precedence.
fn best(
    overlaps: &[(usize, f64)],
    threshold: f64,
    ignored: &[bool],
    is_taken: impl Fn(usize) -> bool,
) -> Option<usize> {
    let among = |wanted: bool| {
        let free = overlaps.iter().filter(|(object, overlap)| {
            ignored[*object] == wanted && *overlap >= threshold && !is_taken(*object)
        });
        free.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(object, _)| *object)
    };
    among(false).or_else(|| among(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(score: f32, left: f64, width: f64) -> Detection {
        Detection { class: 0, score, corners: [left, 0.0, left + width, 10.0] }
    }

    fn object(left: f64, width: f64) -> GroundTruth {
        let corners = [left, 0.0, left + width, 10.0];
        GroundTruth { class: 0, corners, area: width * 10.0, crowd: false, ignored: false }
    }

    /// At IoU 0.5 over all sizes: + hit, − mistake, · ignored.
    fn signs(detections: &[Detection], truth: &[GroundTruth]) -> String {
        let detections = detections.iter().map(|each| (each, true)).collect();
        let matches = match_class(detections, &truth.iter().collect::<Vec<_>>());
        let sign = |(_, outcome): &(f32, Outcome)| match () {
            () if outcome.is_hit(SizeRange::All, 0) => '+',
            () if outcome.is_ignored(SizeRange::All, 0) => '·',
            () => '-',
        };
        matches.iter().map(sign).collect()
    }

    #[test]
    fn the_highest_score_takes_the_object() {
        let truth = [object(0.0, 10.0)];
        assert_eq!(signs(&[detection(0.5, 0.0, 10.0), detection(0.9, 1.0, 10.0)], &truth), "+-");
        let both = [object(0.0, 10.0), object(2.0, 10.0)];
        assert_eq!(signs(&[detection(0.5, 0.0, 10.0), detection(0.9, 1.0, 10.0)], &both), "++");
    }

    #[test]
    fn a_crowd_takes_any_number_and_an_ignored_object_takes_one() {
        let found = [0.9, 0.8, 0.7].map(|score| detection(score, 0.0, 5.0));
        assert_eq!(signs(&found, &[GroundTruth { crowd: true, ..object(0.0, 100.0) }]), "···");
        assert_eq!(signs(&found, &[GroundTruth { ignored: true, ..object(0.0, 5.0) }]), "·--");
        let wanted = [GroundTruth { crowd: true, ..object(0.0, 100.0) }, object(0.0, 8.0)];
        assert_eq!(signs(&found, &wanted), "+··", "an object goes before the crowd that overlaps more");
    }

    #[test]
    fn only_the_best_hundred_are_matched() {
        let found: Vec<Detection> = (0..150).map(|i| detection(i as f32 / 150.0, 0.0, 10.0)).collect();
        let signs = signs(&found, &[object(0.0, 10.0)]);
        assert_eq!((signs.len(), signs.starts_with("+-")), (DETECTIONS, true));
    }
}
