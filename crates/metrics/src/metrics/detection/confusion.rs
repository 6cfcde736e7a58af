//! The confusion matrix of detection: what objects of each class are taken for.
//!
//! Matching does not look at classes. By falling score, a detection takes the free object that it overlaps most. The last
//! row and the last column are the background: objects that nothing takes, and detections that take no object.

use serde::{Deserialize, Serialize};

use super::boxes::{Detection, GroundTruth, overlap};
use super::matching::by_score;

/// Scores of the detections that enter the matrix are above it. Average precision counts those below as well; a matrix
/// of them all would show little but background.
pub const CONFUSION_CONFIDENCE: f32 = 0.25;

/// The intersection over union of a detection and its object is above it.
pub const CONFUSION_IOU: f64 = 0.45;

/// Counts by predicted and true class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionConfusion {
    classes: usize,
    /// [predicted, true], each classes + 1, in row-major order.
    counts: Vec<u64>,
}

impl DetectionConfusion {
    pub(super) fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; (classes + 1) * (classes + 1)] }
    }

    /// The index of the background: the number of classes.
    pub fn background(&self) -> usize {
        self.classes
    }

    /// How often an object of class `truth` was detected as `predicted`. Background–background is 0.
    pub fn count(&self, predicted: usize, truth: usize) -> u64 {
        self.counts[predicted * (self.classes + 1) + truth]
    }

    /// The rows: one for each predicted class, the background last.
    pub fn rows(&self) -> impl Iterator<Item = &[u64]> {
        self.counts.chunks_exact(self.classes + 1)
    }

    /// The rows as shares of their column: of the objects of a class, how many are taken for what. A column without
    /// counts is 0.
    pub fn normalised(&self) -> Vec<Vec<f64>> {
        let sum = |column: usize| self.rows().map(|row| row[column]).sum::<u64>().max(1) as f64;
        let sums: Vec<f64> = (0..=self.classes).map(sum).collect();
        let share = |row: &[u64]| row.iter().zip(&sums).map(|(count, sum)| *count as f64 / sum).collect();
        self.rows().map(share).collect()
    }

    /// Adds an image. All classes are below the number of classes.
    pub(super) fn update(&mut self, image: &[Detection], truth: &[GroundTruth]) {
        let mut detections: Vec<&Detection> =
            image.iter().filter(|each| each.score.is_finite() && each.score > CONFUSION_CONFIDENCE).collect();
        detections.sort_by(|a, b| by_score(a.score, b.score));
        let mut taken = vec![false; truth.len()];
        for detection in detections {
            // Crowds and ignored objects only excuse what takes nothing else.
            let found =
                take(detection, truth, &taken, true).or_else(|| take(detection, truth, &taken, false));
            let true_class = match found {
                Some(at) => {
                    taken[at] = !truth[at].crowd;
                    truth[at].counts().then_some(truth[at].class as usize)
                }
                None => Some(self.classes),
            };
            if let Some(true_class) = true_class {
                self.add(detection.class as usize, true_class);
            }
        }
        for (object, _) in truth.iter().zip(&taken).filter(|(object, taken)| object.counts() && !**taken) {
            self.add(self.classes, object.class as usize);
        }
    }

    fn add(&mut self, predicted: usize, truth: usize) {
        self.counts[predicted * (self.classes + 1) + truth] += 1;
    }
}

/// The free object that the detection overlaps most, of equal ones the first; among those that count, or the others.
fn take(detection: &Detection, truth: &[GroundTruth], taken: &[bool], counts: bool) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, object) in
        truth.iter().enumerate().filter(|(at, object)| object.counts() == counts && !taken[*at])
    {
        let overlap = overlap(detection.corners, object);
        if overlap > best.map_or(CONFUSION_IOU, |(_, most)| most) {
            best = Some((at, overlap));
        }
    }
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_detections_and_background() {
        let detection =
            |class, score, left: f64| Detection { class, score, corners: [left, 0.0, left + 10.0, 10.0] };
        let object = |class, left: f64| {
            let corners = [left, 0.0, left + 10.0, 10.0];
            GroundTruth { class, corners, area: 100.0, crowd: false, ignored: false }
        };
        let mut confusion = DetectionConfusion::new(2);
        let truth = [
            object(0, 0.0),
            object(1, 100.0),
            object(1, 200.0),
            GroundTruth { crowd: true, ..object(0, 300.0) },
        ];
        let image = [
            detection(1, 0.9, 1.0),
            detection(0, 0.5, 0.0),
            detection(1, 0.8, 100.0),
            detection(1, 0.25, 200.0),
            detection(0, 0.7, 300.0),
            detection(1, 0.7, 300.0),
            detection(0, f32::NAN, 200.0),
            detection(0, 0.3, f64::NAN),
        ];
        confusion.update(&image, &truth);
        let rows: Vec<&[u64]> = confusion.rows().collect();
        assert_eq!(rows, [[0, 0, 2], [1, 1, 0], [0, 1, 0]]);
        assert_eq!((confusion.count(1, 0), confusion.background()), (1, 2));
        assert_eq!(confusion.normalised(), [[0.0, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 0.5, 0.0]]);
    }
}
