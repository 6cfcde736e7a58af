//! The meter of a validation: takes images one by one, then gives scores, curves and the confusion matrix.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::average_precision::{Averages, IOU_THRESHOLDS};
use super::boxes::{Detection, GroundTruth, SizeRange};
use super::confusion::DetectionConfusion;
use super::curves::{ClassCurves, DetectionCurves};
use super::matching::{Outcome, match_class};
use super::ranking::Ranking;
use super::scores::DetectionScores;
use crate::error::{Error, Result};

/// All images so far; part of a checkpoint. It holds a score and an outcome of each detection, and no boxes.
///
/// The order of the images decides between equal scores in average precision, as in pycocotools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectionMetrics {
    images: u64,
    classes: Vec<ClassRecord>,
    confusion: DetectionConfusion,
}

/// One class in all images so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ClassRecord {
    /// Images with an object that a model should find.
    pub(super) images: u64,
    /// The objects that a model should find, by [`SizeRange`].
    pub(super) objects: [u64; 4],
    /// Hits by threshold among the best detection, and the best ten, of each image.
    first_hits: [[u64; 10]; 2],
    ranking: Ranking,
}

/// What an image may add to `first_hits`.
const FIRST: [usize; 2] = [1, 10];

/// The numbers of one class, once all images are there.
pub(super) struct ClassAverages {
    /// By [`SizeRange`]; `None` without objects of this size.
    pub(super) by_size: [Option<Averages>; 4],
    /// Recall at one and ten detections an image, by threshold.
    pub(super) first_recalls: Option<[[f64; 10]; 2]>,
}

impl DetectionMetrics {
    pub fn new(classes: usize) -> Self {
        let confusion = DetectionConfusion::new(classes);
        Self { images: 0, classes: vec![ClassRecord::default(); classes], confusion }
    }

    /// Adds an image with its detections in any order, after non-maximum suppression.
    ///
    /// # Errors
    /// A class that does not exist. The meter is then as before.
    pub fn update(&mut self, image: &[Detection], truth: &[GroundTruth]) -> Result<()> {
        self.update_within(image, truth, &vec![true; image.len()])
    }

    /// The same, where a detection that takes no object is a mistake only if `counts` has `true` for it. The confusion
    /// matrix does not depend on `counts`.
    ///
    /// # Errors
    /// As for [`DetectionMetrics::update`].
    pub fn update_within(
        &mut self,
        image: &[Detection],
        truth: &[GroundTruth],
        counts: &[bool],
    ) -> Result<()> {
        let classes = self.classes.len();
        let named = image.iter().map(|each| each.class).chain(truth.iter().map(|object| object.class));
        if let Some(class) = named.into_iter().find(|class| *class as usize >= classes) {
            return Err(Error::failed(format!(
                "a box has class {class}, but there are {classes} classes, from 0"
            )));
        }
        self.images += 1;
        self.confusion.update(image, truth);
        let detections = image.iter().zip(counts.iter().copied());
        let mut detections: Vec<(&Detection, bool)> =
            detections.filter(|(each, _)| each.score.is_finite()).collect();
        detections.sort_by_key(|(each, _)| each.class);
        let mut objects: Vec<&GroundTruth> = truth.iter().collect();
        objects.sort_by_key(|object| object.class);
        for of_class in objects.chunk_by(|a, b| a.class == b.class) {
            self.classes[of_class[0].class as usize].count(of_class);
        }
        for of_class in detections.chunk_by(|(a, _), (b, _)| a.class == b.class) {
            let class = of_class[0].0.class;
            let from = objects.partition_point(|object| object.class < class);
            let to = objects.partition_point(|object| object.class <= class);
            self.classes[class as usize].add(match_class(of_class.to_vec(), &objects[from..to]));
        }
        Ok(())
    }

    /// The number of images so far.
    pub fn images(&self) -> u64 {
        self.images
    }

    pub fn confusion(&self) -> &DetectionConfusion {
        &self.confusion
    }

    pub fn curves(&self) -> DetectionCurves {
        let curves =
            |class: &ClassRecord| ClassCurves::of(&class.ranking, &class.ranking.order(), class.objects[0]);
        DetectionCurves::new(self.classes.par_iter().map(curves).collect())
    }

    /// The results, with the classes' names in order.
    pub fn finish(&self, names: &[String]) -> Result<DetectionScores> {
        let curves = self.curves();
        self.scores(names, &curves, curves.best_point())
    }

    /// The same with precision, recall and F1 at another point of the curves, such as the best one of more images.
    pub fn finish_at(&self, names: &[String], point: Option<usize>) -> Result<DetectionScores> {
        self.scores(names, &self.curves(), point)
    }

    fn scores(
        &self,
        names: &[String],
        curves: &DetectionCurves,
        point: Option<usize>,
    ) -> Result<DetectionScores> {
        if names.len() != self.classes.len() {
            let (names, classes) = (names.len(), self.classes.len());
            return Err(Error::failed(format!("{names} names for {classes} classes")));
        }
        Ok(DetectionScores::new(self.images, names, &self.classes, &self.averages(), curves, point))
    }

    pub(super) fn averages(&self) -> Vec<ClassAverages> {
        self.classes.par_iter().map(ClassRecord::averages).collect()
    }
}

impl ClassRecord {
    /// Counts the objects of an image.
    fn count(&mut self, objects: &[&GroundTruth]) {
        let counted = objects.iter().filter(|object| object.counts());
        self.images += u64::from(counted.clone().next().is_some());
        for range in SizeRange::EVERY {
            let inside = counted.clone().filter(|object| !range.excludes(object.area)).count();
            self.objects[range as usize] += inside as u64;
        }
    }

    /// Adds the detections of an image, the best first.
    fn add(&mut self, matches: Vec<(f32, Outcome)>) {
        for (rank, (score, outcome)) in matches.into_iter().enumerate() {
            for (hits, _) in self.first_hits.iter_mut().zip(FIRST).filter(|(_, first)| rank < *first) {
                for (threshold, hits) in hits.iter_mut().enumerate() {
                    *hits += u64::from(outcome.is_hit(SizeRange::All, threshold));
                }
            }
            self.ranking.push(score, outcome);
        }
    }

    fn averages(&self) -> ClassAverages {
        let order = self.ranking.order();
        let of = |range: SizeRange| Averages::of(&self.ranking, &order, range, self.objects[range as usize]);
        let objects = self.objects[0];
        let recall = |hits: [u64; IOU_THRESHOLDS.len()]| hits.map(|hits| hits as f64 / objects as f64);
        let first_recalls = (objects > 0).then(|| self.first_hits.map(recall));
        ClassAverages { by_size: SizeRange::EVERY.map(of), first_recalls }
    }
}
