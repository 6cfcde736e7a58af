//! What is wrong with the detections of an image: the error types of TIDE (Bolya, Foley, Hays, Hoffman, *TIDE: A General
//! Toolbox for Identifying Object Detection Errors*, ECCV 2020, section 2.2).
//!
//! A detection that is neither a hit nor excused has one type. It is decided in this order, as in the authors' package: a
//! box that overlaps an object of its class a little, an object of another class well, an object of its class that is
//! already found, nothing, or else another class a little. Crowds and ignored objects excuse as in matching and are no
//! objects otherwise, except that a second detection of an ignored object is a duplicate.

use super::boxes::{Detection, GroundTruth, SizeRange, intersection_over_union};
use super::matching::{DETECTIONS, Taken, by_score, take_at_half};

/// A detection and an object match from this intersection over union on.
pub const FOREGROUND_IOU: f64 = 0.5;

/// A detection whose intersection over union is below it for all objects shows background.
pub const BACKGROUND_IOU: f64 = 0.1;

/// A type of error. Each detection and each object that is not found has at most one of the first six.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The box fits an object of another class.
    Classification,
    /// The class is right, but the box fits badly.
    Localisation,
    /// The class is wrong, and the box fits badly.
    Both,
    /// The object already has a detection with a higher score.
    Duplicate,
    /// There is no object.
    Background,
    /// An object that no detection finds, not even one of wrong class or place.
    Missed,
    /// Any detection that is wrong: the first five.
    FalsePositive,
    /// Any object without a hit.
    FalseNegative,
}

impl ErrorKind {
    /// In the order of their discriminants, which index arrays by kind.
    pub const ALL: [Self; 8] = [
        Self::Classification,
        Self::Localisation,
        Self::Both,
        Self::Duplicate,
        Self::Background,
        Self::Missed,
        Self::FalsePositive,
        Self::FalseNegative,
    ];

    /// As files call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Localisation => "localisation",
            Self::Both => "both",
            Self::Duplicate => "duplicate",
            Self::Background => "background",
            Self::Missed => "missed",
            Self::FalsePositive => "false_positive",
            Self::FalseNegative => "false_negative",
        }
    }
}

/// A detection that scores count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Its place among the detections of the image.
    pub detection: usize,
    pub class: u32,
    pub score: f32,
    /// `None` of a hit; else one of the first five kinds.
    pub error: Option<ErrorKind>,
    /// The object that it finds, or fails to find: for [`ErrorKind::Both`] the one of another class that it overlaps
    /// most, for [`ErrorKind::Background`] none.
    pub object: Option<OverlappedObject>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverlappedObject {
    /// Its place among the objects of the image.
    pub index: usize,
    pub class: u32,
    pub iou: f64,
}

/// An object that a model should find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoughtObject {
    /// Its place among the objects of the image.
    pub index: usize,
    pub class: u32,
    /// The score of the detection that finds it.
    pub hit: Option<f32>,
    /// The highest score of a detection with a wrong class or a badly fitting box that is meant for it.
    pub nearly: Option<f32>,
}

impl SoughtObject {
    /// Whether no detection with at least this score finds it or is meant for it.
    pub fn is_missed(&self, confidence: f64) -> bool {
        !reaches(self.hit, confidence) && !reaches(self.nearly, confidence)
    }

    /// Whether no detection with at least this score finds it.
    pub fn is_unfound(&self, confidence: f64) -> bool {
        !reaches(self.hit, confidence)
    }
}

fn reaches(score: Option<f32>, confidence: f64) -> bool {
    score.is_some_and(|score| f64::from(score) >= confidence)
}

/// One image, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageErrors {
    /// By falling score; of equal ones in the order of the detections.
    pub verdicts: Vec<Verdict>,
    /// In the order of the objects.
    pub objects: Vec<SoughtObject>,
}

impl ImageErrors {
    /// Judges the detections of an image, in any order, after non-maximum suppression. The memory that it takes grows
    /// with detections and objects, not with their product.
    ///
    /// Removing all detections below a score removes their verdicts and changes no other: a better detection is matched
    /// first.
    pub fn of(detections: &[Detection], truth: &[GroundTruth]) -> Self {
        let mut order: Vec<usize> =
            (0..detections.len()).filter(|at| detections[*at].score.is_finite()).collect();
        order.sort_by(|a, b| {
            let (a, b) = (&detections[*a], &detections[*b]);
            a.class.cmp(&b.class).then(by_score(a.score, b.score))
        });
        let mut verdicts = Vec::with_capacity(order.len());
        for of_class in order.chunk_by(|a, b| detections[*a].class == detections[*b].class) {
            let class = detections[of_class[0]].class;
            let of_class = &of_class[..of_class.len().min(DETECTIONS)];
            let places: Vec<usize> = (0..truth.len()).filter(|at| truth[*at].class == class).collect();
            let best: Vec<&Detection> = of_class.iter().map(|at| &detections[*at]).collect();
            let objects: Vec<&GroundTruth> = places.iter().map(|at| &truth[*at]).collect();
            for (&detection, taken) in of_class.iter().zip(take_at_half(&best, &objects)) {
                let Detection { class, score, corners } = detections[detection];
                let (error, object) = match taken {
                    Taken::Object(at) => {
                        let (index, iou) =
                            (places[at], intersection_over_union(corners, objects[at].corners));
                        (None, Some(OverlappedObject { index, class, iou }))
                    }
                    Taken::Excused => continue,
                    Taken::Nothing => {
                        let (kind, object) = kind(&detections[detection], truth);
                        (Some(kind), object)
                    }
                };
                verdicts.push(Verdict { detection, class, score, error, object });
            }
        }
        verdicts.sort_by(|a, b| by_score(a.score, b.score).then(a.detection.cmp(&b.detection)));
        let objects = sought(truth, &verdicts);
        Self { verdicts, objects }
    }
}

/// Whether it is an object for scores: also with a size that is in a range.
fn counts(object: &GroundTruth) -> bool {
    object.counts() && !SizeRange::All.excludes(object.area)
}

/// The type of a detection that takes nothing.
fn kind(detection: &Detection, truth: &[GroundTruth]) -> (ErrorKind, Option<OverlappedObject>) {
    let (mut own, mut other): (Option<OverlappedObject>, Option<OverlappedObject>) = (None, None);
    let mut repeats_ignored = None;
    for (index, object) in truth.iter().enumerate().filter(|(_, object)| !object.crowd) {
        let iou = intersection_over_union(detection.corners, object.corners);
        let found = OverlappedObject { index, class: object.class, iou };
        let best = match (object.class == detection.class, counts(object)) {
            (true, true) => &mut own,
            (false, true) => &mut other,
            (true, false) if iou >= FOREGROUND_IOU => &mut repeats_ignored,
            (_, false) => continue,
        };
        if best.is_none_or(|best| iou > best.iou) {
            *best = Some(found);
        }
    }
    let overlap = |best: Option<OverlappedObject>| best.map_or(0.0, |best| best.iou);
    let (of_own, of_other) = (overlap(own), overlap(other));
    if (BACKGROUND_IOU..FOREGROUND_IOU).contains(&of_own) {
        (ErrorKind::Localisation, own)
    } else if of_other >= FOREGROUND_IOU {
        (ErrorKind::Classification, other)
    } else if of_own >= FOREGROUND_IOU {
        (ErrorKind::Duplicate, own)
    } else if repeats_ignored.is_some() {
        (ErrorKind::Duplicate, repeats_ignored)
    } else if of_other < BACKGROUND_IOU {
        (ErrorKind::Background, None)
    } else {
        (ErrorKind::Both, other)
    }
}

/// The objects to find, with what became of each.
fn sought(truth: &[GroundTruth], verdicts: &[Verdict]) -> Vec<SoughtObject> {
    let (mut hits, mut nearly) = (vec![None; truth.len()], vec![None; truth.len()]);
    for Verdict { score, error, object, .. } in verdicts {
        let best = match (error, object) {
            (None, Some(object)) => &mut hits[object.index],
            (Some(ErrorKind::Classification | ErrorKind::Localisation), Some(object)) => {
                &mut nearly[object.index]
            }
            _ => continue,
        };
        // Scores fall, so the first is the highest.
        best.get_or_insert(*score);
    }
    let object = |(index, object): (usize, &GroundTruth)| SoughtObject {
        index,
        class: object.class,
        hit: hits[index],
        nearly: nearly[index],
    };
    truth.iter().enumerate().filter(|(_, object)| counts(object)).map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(class: u32, score: f32, left: f64, width: f64) -> Detection {
        Detection { class, score, corners: [left, 0.0, left + width, 10.0] }
    }

    fn object(class: u32, left: f64, width: f64) -> GroundTruth {
        let corners = [left, 0.0, left + width, 10.0];
        GroundTruth { class, corners, area: width * 10.0, crowd: false, ignored: false }
    }

    /// The kind of each verdict and its object, and which objects are missed.
    #[track_caller]
    fn check(
        detections: &[Detection],
        truth: &[GroundTruth],
        expected: &[(Option<ErrorKind>, Option<usize>)],
        missed: &[usize],
    ) {
        let errors = ImageErrors::of(detections, truth);
        let found: Vec<_> = errors
            .verdicts
            .iter()
            .map(|verdict| (verdict.error, verdict.object.map(|object| object.index)))
            .collect();
        assert_eq!(found, expected);
        let gone = errors.objects.iter().filter(|object| object.is_missed(0.0)).map(|object| object.index);
        assert_eq!(gone.collect::<Vec<_>>(), missed);
    }

    #[test]
    fn each_type() {
        let truth = [object(0, 0.0, 10.0), object(1, 100.0, 10.0)];
        let found = [
            detection(0, 0.9, 0.0, 10.0),
            detection(0, 0.8, 1.0, 10.0),
            detection(0, 0.7, 100.0, 10.0),
            detection(1, 0.6, 106.0, 10.0),
            detection(0, 0.5, 106.0, 10.0),
            detection(1, 0.4, 50.0, 10.0),
            detection(1, 0.3, 109.0, 10.0),
        ];
        let expected = [
            (None, Some(0)),
            (Some(ErrorKind::Duplicate), Some(0)),
            (Some(ErrorKind::Classification), Some(1)),
            (Some(ErrorKind::Localisation), Some(1)),
            (Some(ErrorKind::Both), Some(1)),
            (Some(ErrorKind::Background), None),
            (Some(ErrorKind::Background), None),
        ];
        check(&found, &truth, &expected, &[]);
        check(&found[..1], &truth, &expected[..1], &[1]);
        check(&found[4..5], &truth, &expected[4..5], &[0, 1]);
    }

    #[test]
    fn the_ends_of_the_ranges_are_those_of_the_paper() {
        // 10 of 20 and 20 of 20: an overlap of exactly 0.5.
        let truth = [object(0, 0.0, 20.0), object(1, 100.0, 20.0)];
        let half = [detection(0, 0.9, 0.0, 10.0), detection(0, 0.8, 100.0, 10.0)];
        check(&half, &truth, &[(None, Some(0)), (Some(ErrorKind::Classification), Some(1))], &[]);
        let again = [detection(0, 0.9, 0.0, 10.0), detection(0, 0.8, 10.0, 10.0)];
        check(&again, &truth, &[(None, Some(0)), (Some(ErrorKind::Duplicate), Some(0))], &[1]);
        let tenth = [detection(0, 0.9, 0.0, 2.0), detection(0, 0.8, 100.0, 2.0), detection(0, 0.7, 0.0, 1.0)];
        let kinds = [
            (Some(ErrorKind::Localisation), Some(0)),
            (Some(ErrorKind::Both), Some(1)),
            (Some(ErrorKind::Background), None),
        ];
        check(&tenth, &truth, &kinds, &[1]);
    }

    #[test]
    fn of_two_explanations_place_goes_first_and_class_second() {
        let truth = [object(0, 0.0, 10.0), object(1, 2.0, 10.0)];
        let found =
            [detection(0, 0.9, 0.0, 10.0), detection(1, 0.85, 2.0, 10.0), detection(0, 0.8, 1.0, 10.0)];
        let expected = [(None, Some(0)), (None, Some(1)), (Some(ErrorKind::Classification), Some(1))];
        check(&found, &truth, &expected, &[]);
        let apart = [object(0, 6.0, 10.0), object(1, 0.0, 10.0)];
        let placed = [(Some(ErrorKind::Localisation), Some(0))];
        check(&[detection(0, 0.9, 0.0, 10.0)], &apart, &placed, &[1]);
    }

    #[test]
    fn crowds_and_ignored_objects_excuse_and_are_no_objects() {
        let ignored = GroundTruth { ignored: true, ..object(0, 0.0, 10.0) };
        let crowd = GroundTruth { crowd: true, ..object(0, 100.0, 100.0) };
        let found = [
            detection(0, 0.9, 0.0, 10.0),
            detection(0, 0.8, 0.0, 10.0),
            detection(0, 0.7, 110.0, 10.0),
            detection(0, 0.6, 110.0, 10.0),
            detection(1, 0.5, 0.0, 10.0),
            detection(0, 0.4, 6.0, 10.0),
        ];
        let expected = [
            (Some(ErrorKind::Duplicate), Some(0)),
            (Some(ErrorKind::Background), None),
            (Some(ErrorKind::Background), None),
        ];
        check(&found, &[ignored, crowd], &expected, &[]);
    }

    #[test]
    fn nothing_and_no_number() {
        check(&[], &[], &[], &[]);
        check(&[], &[object(0, 0.0, 10.0)], &[], &[0]);
        check(&[detection(3, 0.5, 0.0, 10.0)], &[], &[(Some(ErrorKind::Background), None)], &[]);
        let nan = [detection(0, f32::NAN, 0.0, 10.0), detection(0, 0.5, f64::NAN, 10.0)];
        check(&nan, &[object(0, 0.0, 10.0)], &[(Some(ErrorKind::Background), None)], &[0]);
    }

    #[test]
    fn of_equal_scores_the_first_detection_is_the_hit() {
        let found = [detection(0, 0.5, 3.0, 10.0), detection(0, 0.5, 0.0, 10.0)];
        let expected = [(None, Some(0)), (Some(ErrorKind::Duplicate), Some(0))];
        check(&found, &[object(0, 0.0, 10.0)], &expected, &[]);
    }

    #[test]
    fn what_is_above_a_score_does_not_depend_on_the_rest() {
        let truth: Vec<GroundTruth> = (0..9).map(|at| object(at % 3, f64::from(at) * 7.0, 10.0)).collect();
        let found: Vec<Detection> = (0..60)
            .map(|at| detection(at % 4, (at * 37 % 60) as f32 / 60.0, f64::from(at * 13 % 70), 9.0))
            .collect();
        let all = ImageErrors::of(&found, &truth);
        let above: Vec<Detection> = found.iter().filter(|each| each.score >= 0.5).copied().collect();
        let of_above = ImageErrors::of(&above, &truth);
        let kinds = |errors: &ImageErrors| -> Vec<_> {
            let above = errors.verdicts.iter().filter(|verdict| verdict.score >= 0.5);
            above
                .map(|verdict| (verdict.class, verdict.score.to_bits(), verdict.error, verdict.object))
                .collect()
        };
        assert!(all.verdicts.len() > of_above.verdicts.len());
        assert_eq!(kinds(&all), kinds(&of_above));
        let missed = |errors: &ImageErrors| -> Vec<bool> {
            errors.objects.iter().map(|object| object.is_missed(0.5)).collect()
        };
        assert_eq!(missed(&all), missed(&of_above));
    }

    #[test]
    fn thousands_of_boxes_in_an_image() {
        let truth: Vec<GroundTruth> =
            (0..3000).map(|at| object(at % 50, f64::from(at / 50) * 20.0, 10.0)).collect();
        let found: Vec<Detection> =
            (0..20_000).map(|at| detection(at % 50, 0.5, f64::from(at / 50 % 60) * 20.0, 10.0)).collect();
        let errors = ImageErrors::of(&found, &truth);
        assert_eq!(errors.verdicts.len(), 50 * DETECTIONS);
        assert_eq!(errors.verdicts.iter().filter(|verdict| verdict.error.is_none()).count(), 3000);
    }
}
