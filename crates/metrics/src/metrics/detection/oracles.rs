//! What each type of error costs: the average precision at IoU 0.5 if an oracle fixed this type alone, minus the one that
//! was measured (TIDE, section 2.3).
//!
//! Wrong classes and places are put right, which makes the detection with the highest score a hit if its object has none,
//! and removes the others. Detections of both faults, duplicates and background are removed. Missed objects are left out of
//! the count of objects: the detector is taken to be as precise on them as on the others. A class that has no object left
//! then is part of no mean, as in COCO's metrics.

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;

use super::average_precision::{average, mean_of_known, reached_by};
use super::boxes::{Detection, GroundTruth};
use super::error_scores::{ClassConfusion, ClassErrors, DetectionErrors, ErrorCost, ErrorSummary, Tally};
use super::errors::{BACKGROUND_IOU, ErrorKind, FOREGROUND_IOU, ImageErrors, Verdict};
use super::matching::by_score;
use crate::error::{Error, Result};

/// The most pairs of classes that are listed as confused.
const CONFUSIONS: usize = 20;

/// The detections and objects of one evaluated image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluatedImage<'a> {
    pub detections: &'a [Detection],
    pub truth: &'a [GroundTruth],
}

/// All images of an evaluation, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorAnalysis {
    images: Vec<ImageErrors>,
    /// Of each class, the number of objects that a model should find.
    objects: Vec<u64>,
    /// By falling score; of equal ones in the order of the images, as in average precision.
    points: Vec<Point>,
}

/// A detection that scores count.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    score: f32,
    class: u32,
    error: Option<ErrorKind>,
    /// Its class if the oracle of its type makes it a hit.
    becomes: Option<u32>,
}

impl ErrorAnalysis {
    /// Judges every image.
    ///
    /// # Errors
    /// A class that does not exist.
    pub fn of(classes: usize, images: &[EvaluatedImage]) -> Result<Self> {
        let detected = images.iter().flat_map(|image| image.detections).map(|each| each.class);
        let there = images.iter().flat_map(|image| image.truth).map(|object| object.class);
        if let Some(class) = detected.chain(there).find(|class| *class as usize >= classes) {
            return Err(Error::failed(format!(
                "a box has class {class}, but there are {classes} classes, from 0"
            )));
        }
        let judge = |image: &EvaluatedImage| ImageErrors::of(image.detections, image.truth);
        let images: Vec<ImageErrors> = images.par_iter().map(judge).collect();
        let mut objects = vec![0; classes];
        for object in images.iter().flat_map(|image| &image.objects) {
            objects[object.class as usize] += 1;
        }
        let mut points: Vec<Point> = images.iter().flat_map(points).collect();
        points.sort_by(|a, b| by_score(a.score, b.score));
        Ok(Self { images, objects, points })
    }

    /// Numbers and costs of all types, over all classes and of each, with the classes' names in order. Detections from
    /// `confidence` on are counted again as confident ones.
    ///
    /// # Errors
    /// A bug: another number of names.
    pub fn finish(&self, names: &[String], confidence: Option<f64>) -> Result<DetectionErrors> {
        let classes = self.objects.len();
        if names.len() != classes {
            return Err(Error::bug(format!("{} names for {classes} classes", names.len())));
        }
        let counts = self.counts(f64::NEG_INFINITY);
        let measured = self.average_precisions(None, &counts);
        let fixed: Vec<Vec<Option<f64>>> =
            ErrorKind::ALL.par_iter().map(|kind| self.average_precisions(Some(*kind), &counts)).collect();
        let confident = confidence.map(|confidence| self.counts(confidence));
        let tally = |row: usize, class: Option<usize>| Tally {
            count: total(&counts[row], class),
            confident: confident.as_ref().map(|counts| total(&counts[row], class)),
        };
        let summary = |class: Option<usize>| {
            let ap = |all: &[Option<f64>]| match class {
                Some(class) => all[class],
                None => mean_of_known(all.iter().copied()),
            };
            let ap50 = ap(&measured);
            let cost = |kind: ErrorKind| {
                let Tally { count, confident } = tally(kind as usize, class);
                let dap = ap(&fixed[kind as usize]).zip(ap50).map(|(fixed, ap50)| fixed - ap50);
                ErrorCost { count, confident, dap }
            };
            ErrorSummary {
                ap50,
                hits: tally(HITS, class),
                classification: cost(ErrorKind::Classification),
                localisation: cost(ErrorKind::Localisation),
                both: cost(ErrorKind::Both),
                duplicate: cost(ErrorKind::Duplicate),
                background: cost(ErrorKind::Background),
                missed: cost(ErrorKind::Missed),
                false_positive: cost(ErrorKind::FalsePositive),
                false_negative: cost(ErrorKind::FalseNegative),
            }
        };
        let of_class = |(class, name): (usize, &String)| ClassErrors {
            class: name.clone(),
            instances: self.objects[class],
            errors: summary(Some(class)),
        };
        Ok(DetectionErrors {
            foreground_iou: FOREGROUND_IOU,
            background_iou: BACKGROUND_IOU,
            confidence,
            all: summary(None),
            classes: names.iter().enumerate().map(of_class).collect(),
            confusions: self.confusions(names, confidence),
        })
    }

    /// The wrong detections with the highest scores, at most `most`: the place of the image, and the verdict.
    pub fn most_confident(&self, most: usize) -> Vec<(usize, Verdict)> {
        let wrong = self.images.iter().enumerate().flat_map(|(image, errors)| {
            let wrong = errors.verdicts.iter().filter(|verdict| verdict.error.is_some());
            wrong.map(move |verdict| (image, *verdict))
        });
        let mut wrong: Vec<(usize, Verdict)> = wrong.collect();
        wrong.sort_by(|a, b| by_score(a.1.score, b.1.score));
        wrong.truncate(most);
        wrong
    }

    /// The average precision of each class, if the oracle of a type fixed its errors; `None` without objects. `counts` are
    /// those of all scores.
    fn average_precisions(&self, oracle: Option<ErrorKind>, counts: &[Vec<u64>]) -> Vec<Option<f64>> {
        let mut ranked: Vec<Vec<(f32, bool)>> = vec![Vec::new(); self.objects.len()];
        for Point { score, class, error, becomes } in &self.points {
            let is_fixed = match (oracle, error) {
                (_, None) | (None, _) => false,
                (Some(ErrorKind::FalsePositive), Some(_)) => true,
                (oracle, error) => oracle == *error,
            };
            // Perfect precision removes what is wrong, and puts nothing right.
            let becomes = becomes.filter(|_| oracle != Some(ErrorKind::FalsePositive));
            match (is_fixed, becomes) {
                (false, _) => ranked[*class as usize].push((*score, error.is_none())),
                (true, Some(class)) => ranked[class as usize].push((*score, true)),
                (true, None) => {}
            }
        }
        let lost = match oracle {
            Some(kind @ (ErrorKind::Missed | ErrorKind::FalseNegative)) => Some(&counts[kind as usize]),
            _ => None,
        };
        let of_class = |(class, ranked): (usize, Vec<(f32, bool)>)| {
            let objects = self.objects[class] - lost.map_or(0, |lost| lost[class]);
            (objects > 0).then(|| average(&reached_by(ranked.into_iter(), objects)))
        };
        ranked.into_iter().enumerate().map(of_class).collect()
    }

    /// By kind and then hits, and by class, the number of detections with at least this score and of objects that these
    /// do not find.
    fn counts(&self, confidence: f64) -> Vec<Vec<u64>> {
        let mut counts = vec![vec![0; self.objects.len()]; HITS + 1];
        for point in self.points.iter().take_while(|point| f64::from(point.score) >= confidence) {
            let class = point.class as usize;
            match point.error {
                Some(kind) => {
                    counts[kind as usize][class] += 1;
                    counts[ErrorKind::FalsePositive as usize][class] += 1;
                }
                None => counts[HITS][class] += 1,
            }
        }
        for object in self.images.iter().flat_map(|image| &image.objects) {
            let class = object.class as usize;
            counts[ErrorKind::Missed as usize][class] += u64::from(object.is_missed(confidence));
            counts[ErrorKind::FalseNegative as usize][class] += u64::from(object.is_unfound(confidence));
        }
        counts
    }

    /// The pairs of classes with the most confident detections of the wrong class, then with the most of any confidence.
    fn confusions(&self, names: &[String], confidence: Option<f64>) -> Vec<ClassConfusion> {
        let mut pairs: BTreeMap<(u32, u32), [u64; 2]> = BTreeMap::new();
        for verdict in self.images.iter().flat_map(|image| &image.verdicts) {
            if let (Some(ErrorKind::Classification), Some(object)) = (verdict.error, verdict.object) {
                let [all, confident] = pairs.entry((verdict.class, object.class)).or_default();
                *all += 1;
                let reaches = |confidence| f64::from(verdict.score) >= confidence;
                *confident += u64::from(confidence.is_some_and(reaches));
            }
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(_, [all, confident])| std::cmp::Reverse((*confident, *all)));
        pairs.truncate(CONFUSIONS);
        let confusion = |((predicted, truth), [count, confident]): ((u32, u32), [u64; 2])| ClassConfusion {
            predicted: names[predicted as usize].clone(),
            truth: names[truth as usize].clone(),
            count,
            confident: confidence.map(|_| confident),
        };
        pairs.into_iter().map(confusion).collect()
    }
}

/// The row of hits, after those of the kinds.
const HITS: usize = ErrorKind::ALL.len();

fn total(by_class: &[u64], class: Option<usize>) -> u64 {
    class.map_or_else(|| by_class.iter().sum(), |class| by_class[class])
}

/// The detections of an image, each with what an oracle makes of it.
fn points(image: &ImageErrors) -> Vec<Point> {
    let hit: HashMap<usize, bool> =
        image.objects.iter().map(|object| (object.index, object.hit.is_some())).collect();
    let mut fixed: HashSet<(ErrorKind, usize)> = HashSet::new();
    let point = |verdict: &Verdict| {
        let Verdict { class, score, error, object, .. } = *verdict;
        let becomes = match (error, object) {
            (Some(kind @ (ErrorKind::Classification | ErrorKind::Localisation)), Some(object)) => {
                // Of several, the first has the highest score.
                let is_free = hit.get(&object.index) == Some(&false);
                (is_free && fixed.insert((kind, object.index))).then_some(object.class)
            }
            _ => None,
        };
        Point { score, class, error, becomes }
    };
    image.verdicts.iter().map(point).collect()
}
