//! Non-maximum suppression: of boxes that overlap, only the one with the highest score stays.
//!
//! Exact per class and greedy. Packages often shift the boxes of each class apart and suppress once, which rounds
//! coordinates, and stop after some seconds, which makes results depend on the machine. Neither happens here.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::boxes::intersection_over_union;
use crate::error::{Error, Result};

/// How many classes a box may be kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelsPerBox {
    /// Every class whose score is high enough.
    Many,
    /// The class with the highest score; of equal ones the first.
    Best,
}

/// The settings of [`non_maximum_suppression`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NmsSettings {
    /// Scores must be above it.
    pub confidence: f32,
    /// A box is suppressed if its intersection over union with a kept box of its class is above it.
    pub iou: f64,
    /// The most pairs of box and class that are considered, by score.
    pub candidates: usize,
    /// The most that are kept of an image.
    pub kept: usize,
    pub labels: LabelsPerBox,
}

impl NmsSettings {
    /// For scores: average precision needs the detections of low confidence too.
    pub const EVALUATION: Self =
        Self { confidence: 0.001, iou: 0.7, candidates: 30_000, kept: 300, labels: LabelsPerBox::Many };

    /// For people and other programs.
    pub const PREDICTION: Self = Self { confidence: 0.25, labels: LabelsPerBox::Best, ..Self::EVALUATION };
}

/// A box that is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// The index of the box among those given: its anchor point.
    pub anchor: u32,
    pub class: u32,
    pub score: f32,
}

impl Kept {
    /// By falling score, then anchor, then class: a total order, so that sorting has one result.
    fn rank(&self, other: &Self) -> Ordering {
        let places = |kept: &Self| (kept.anchor, kept.class);
        other.score.total_cmp(&self.score).then(places(self).cmp(&places(other)))
    }
}

/// What stays of the boxes of one image, by falling score; equal scores by anchor.
///
/// `boxes` is [anchors, 4]: left, top, right, bottom. `scores` is [anchors, classes]. A box or score that is not
/// finite is left out. Each candidate is compared with kept boxes only, so the work is at most
/// `candidates · kept` comparisons.
///
/// # Errors
/// The lengths of `boxes` and `scores` do not fit.
pub fn non_maximum_suppression(
    boxes: &[f32],
    scores: &[f32],
    classes: usize,
    settings: &NmsSettings,
) -> Result<Vec<Kept>> {
    let (corners, rest) = boxes.as_chunks::<4>();
    let fits = rest.is_empty() && corners.len().checked_mul(classes) == Some(scores.len());
    if !fits || u32::try_from(scores.len()).is_err() {
        let (numbers, scores) = (boxes.len(), scores.len());
        return Err(Error::failed(format!(
            "{numbers} coordinates of boxes for {scores} scores of {classes} classes"
        )));
    }
    let candidates = candidates(corners, scores, classes, settings);
    let mut kept = Vec::with_capacity(settings.kept.min(candidates.len()));
    let mut of_class: Vec<Vec<[f64; 4]>> = vec![Vec::new(); classes];
    // In the order of scores over all classes, the first `kept` survivors are those of suppression class by class.
    for candidate in candidates {
        if kept.len() == settings.kept {
            break;
        }
        let corners = corners[candidate.anchor as usize].map(f64::from);
        let rivals = &mut of_class[candidate.class as usize];
        if rivals.iter().all(|rival| intersection_over_union(*rival, corners) <= settings.iou) {
            rivals.push(corners);
            kept.push(candidate);
        }
    }
    Ok(kept)
}

/// The pairs of box and class that may stay, the best first.
fn candidates(corners: &[[f32; 4]], scores: &[f32], classes: usize, settings: &NmsSettings) -> Vec<Kept> {
    let enters = |score: f32| score > settings.confidence && score.is_finite();
    let mut candidates = Vec::new();
    let rows = corners.iter().zip(scores.chunks_exact(classes.max(1)));
    for (anchor, (_, row)) in
        rows.enumerate().filter(|(_, (corners, _))| corners.iter().all(|x| x.is_finite()))
    {
        let anchor = anchor as u32;
        let pairs = (0u32..).zip(row).map(|(class, score)| Kept { anchor, class, score: *score });
        let pairs = pairs.filter(|pair| enters(pair.score));
        match settings.labels {
            LabelsPerBox::Many => candidates.extend(pairs),
            LabelsPerBox::Best => candidates.extend(pairs.min_by(Kept::rank)),
        }
    }
    if candidates.len() > settings.candidates {
        candidates.select_nth_unstable_by(settings.candidates, Kept::rank);
        candidates.truncate(settings.candidates);
    }
    candidates.sort_unstable_by(Kept::rank);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(kept: &[Kept]) -> Vec<(u32, u32)> {
        kept.iter().map(|kept| (kept.anchor, kept.class)).collect()
    }

    const BOXES: [f32; 16] =
        [0.0, 0.0, 10.0, 10.0, 0.0, 0.0, 10.0, 9.0, 0.0, 0.0, 10.0, 10.0, 50.0, 0.0, 60.0, 10.0];

    #[test]
    fn classes_do_not_suppress_each_other_and_ties_go_to_the_first_anchor() {
        let scores = [0.5, 0.0, 0.8, 0.3, 0.8, 0.6, 0.3, 0.3];
        let kept = non_maximum_suppression(&BOXES, &scores, 2, &NmsSettings::EVALUATION).unwrap();
        assert_eq!(pairs(&kept), [(1, 0), (2, 1), (3, 0), (3, 1)]);
        let kept = non_maximum_suppression(&BOXES, &scores, 2, &NmsSettings::PREDICTION).unwrap();
        assert_eq!(pairs(&kept), [(1, 0), (3, 0)]);
        let few = NmsSettings { candidates: 3, kept: 2, ..NmsSettings::EVALUATION };
        assert_eq!(pairs(&non_maximum_suppression(&BOXES, &scores, 2, &few).unwrap()), [(1, 0), (2, 1)]);
        let none = NmsSettings { candidates: 0, ..NmsSettings::EVALUATION };
        assert!(non_maximum_suppression(&BOXES, &scores, 2, &none).unwrap().is_empty());
    }

    #[test]
    fn an_overlap_at_the_threshold_stays() {
        let boxes = [0.0, 0.0, 10.0, 10.0, 0.0, 0.0, 10.0, 5.0];
        let kept = |iou: f64| {
            let settings = NmsSettings { iou, ..NmsSettings::EVALUATION };
            non_maximum_suppression(&boxes, &[0.9, 0.8], 1, &settings).unwrap().len()
        };
        assert_eq!((kept(0.5), kept(0.499)), (2, 1));
    }

    #[test]
    fn hostile_values_are_left_out() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let boxes = [nan, 0.0, 10.0, 10.0, -inf, 0.0, inf, 9.0, 5.0, 5.0, 5.0, 5.0, 9.0, 9.0, 1.0, 1.0];
        let kept = non_maximum_suppression(&boxes, &[0.9; 4], 1, &NmsSettings::EVALUATION).unwrap();
        assert_eq!(pairs(&kept), [(2, 0), (3, 0)]);
        let scores = [nan, inf, -inf, 0.5];
        let kept = non_maximum_suppression(&BOXES, &scores, 1, &NmsSettings::PREDICTION).unwrap();
        assert_eq!(pairs(&kept), [(3, 0)]);
        let of = |boxes: &[f32], scores: &[f32], classes| {
            non_maximum_suppression(boxes, scores, classes, &NmsSettings::EVALUATION)
        };
        assert!(of(&BOXES[1..], &[0.5; 4], 1).is_err() && of(&BOXES, &[0.5; 3], 1).is_err());
        assert!(of(&BOXES, &[], 0).unwrap().is_empty() && of(&[], &[], 80).unwrap().is_empty());
    }
}
