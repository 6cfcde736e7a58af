//! The scores of a detection model: what `metrics.json` contains.

use serde::{Deserialize, Serialize};

use super::average_precision::{Averages, mean, mean_of_known};
use super::boxes::SizeRange;
use super::curves::{ClassCurves, DetectionCurves, curve_position};
use super::meter::{ClassAverages, ClassRecord};

/// The places of 0.5 and 0.75 in `IOU_THRESHOLDS`.
const AT_50: usize = 0;
const AT_75: usize = 5;

const NO_GROUND_TRUTH: &str = "no ground truth";

/// The results of [`super::DetectionMetrics`]; the content of `metrics.json`.
///
/// Means are over the classes that have ground truth (of the size, where a size is named). `None` if none has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectionScores {
    pub images: u64,
    /// The objects that a model should find, without crowds and ignored ones.
    pub instances: u64,
    /// Average precision as of COCO: the mean over ten thresholds of intersection over union, 0.5 to 0.95.
    pub ap50_95: Option<f64>,
    pub ap50: Option<f64>,
    pub ap75: Option<f64>,
    /// Of objects up to 32² pixels of the original image.
    pub ap_small: Option<f64>,
    /// Of objects from 32² to 96² pixels.
    pub ap_medium: Option<f64>,
    /// Of objects from 96² pixels.
    pub ap_large: Option<f64>,
    /// Average recall over the ten thresholds, with the best detection of a class in an image.
    pub ar_1: Option<f64>,
    pub ar_10: Option<f64>,
    pub ar_100: Option<f64>,
    pub ar_small: Option<f64>,
    pub ar_medium: Option<f64>,
    pub ar_large: Option<f64>,
    /// Means over the classes at `best_confidence` and an IoU of 0.5.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    /// The one confidence, for all classes, at which their smoothed mean F1 is highest. `None` if nothing is hit at
    /// any; precision, recall and F1 are then 0.
    pub best_confidence: Option<f64>,
    pub classes: Vec<ClassDetectionScores>,
}

/// One class alone. All numbers are `None` if it has no ground truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassDetectionScores {
    pub class: String,
    /// Images with an object of this class that a model should find.
    pub images: u64,
    pub instances: u64,
    /// At the confidence that all classes share, `best_confidence` of [`DetectionScores`].
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    pub ap50: Option<f64>,
    pub ap75: Option<f64>,
    pub ap50_95: Option<f64>,
    pub ap_small: Option<f64>,
    pub ap_medium: Option<f64>,
    pub ap_large: Option<f64>,
    /// The confidence at which the smoothed F1 of this class alone is highest.
    pub best_confidence: Option<f64>,
    /// Why there are no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The scores of a part of the images or objects.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetScores {
    pub images: u64,
    /// The objects that a model should find.
    pub instances: u64,
    pub ap50_95: Option<f64>,
    pub ap50: Option<f64>,
    /// At the best confidence of all images.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
}

impl SubsetScores {
    /// `images` may be fewer than those that were measured.
    pub fn of(images: u64, scores: &DetectionScores) -> Self {
        let DetectionScores { instances, ap50_95, ap50, precision, recall, f1, .. } = *scores;
        Self { images, instances, ap50_95, ap50, precision, recall, f1 }
    }
}

/// Precision, recall and F1.
type AtConfidence = [Option<f64>; 3];

impl DetectionScores {
    pub(super) fn new(
        images: u64,
        names: &[String],
        records: &[ClassRecord],
        averages: &[ClassAverages],
        curves: &DetectionCurves,
        best: Option<usize>,
    ) -> Self {
        let of_class = |(((name, record), averages), curves): (
            ((&String, &ClassRecord), &ClassAverages),
            &Option<ClassCurves>,
        )| ClassDetectionScores::new(name, record, averages, curves.as_ref(), best);
        let classes = names.iter().zip(records).zip(averages).zip(&curves.classes).map(of_class).collect();
        let over = |range: SizeRange, of: &dyn Fn(&Averages) -> f64| {
            mean_of_known(averages.iter().map(|class| class.by_size[range as usize].as_ref().map(of)))
        };
        let precision = |range| over(range, &Averages::mean_precision);
        let recall = |range| over(range, &|averages| mean(&averages.recall));
        let first_recall = |i: usize| {
            mean_of_known(averages.iter().map(|class| class.first_recalls.map(|recalls| mean(&recalls[i]))))
        };
        let [precision_at, recall_at, f1_at] = at_confidence(curves.mean.as_ref(), best);
        Self {
            images,
            instances: records.iter().map(|record| record.objects[0]).sum(),
            ap50_95: precision(SizeRange::All),
            ap50: over(SizeRange::All, &|averages| averages.precision[AT_50]),
            ap75: over(SizeRange::All, &|averages| averages.precision[AT_75]),
            ap_small: precision(SizeRange::Small),
            ap_medium: precision(SizeRange::Medium),
            ap_large: precision(SizeRange::Large),
            ar_1: first_recall(0),
            ar_10: first_recall(1),
            ar_100: recall(SizeRange::All),
            ar_small: recall(SizeRange::Small),
            ar_medium: recall(SizeRange::Medium),
            ar_large: recall(SizeRange::Large),
            precision: precision_at,
            recall: recall_at,
            f1: f1_at,
            best_confidence: best.map(curve_position),
            classes,
        }
    }
}

impl ClassDetectionScores {
    fn new(
        name: &str,
        record: &ClassRecord,
        averages: &ClassAverages,
        curves: Option<&ClassCurves>,
        best: Option<usize>,
    ) -> Self {
        let [precision, recall, f1] = at_confidence(curves, best);
        let all = averages.by_size[SizeRange::All as usize].as_ref();
        let of = |range: SizeRange| averages.by_size[range as usize].as_ref().map(Averages::mean_precision);
        Self {
            class: name.to_owned(),
            images: record.images,
            instances: record.objects[0],
            precision,
            recall,
            f1,
            ap50: all.map(|averages| averages.precision[AT_50]),
            ap75: all.map(|averages| averages.precision[AT_75]),
            ap50_95: of(SizeRange::All),
            ap_small: of(SizeRange::Small),
            ap_medium: of(SizeRange::Medium),
            ap_large: of(SizeRange::Large),
            best_confidence: curves.and_then(ClassCurves::best_point).map(curve_position),
            note: all.is_none().then(|| NO_GROUND_TRUTH.to_owned()),
        }
    }
}

/// Without a best confidence no detection is right, so all three are 0.
fn at_confidence(curves: Option<&ClassCurves>, best: Option<usize>) -> AtConfidence {
    let at =
        |of: fn(&ClassCurves) -> &Vec<f64>| curves.map(|curves| best.map_or(0.0, |point| of(curves)[point]));
    [at(|curves| &curves.precision), at(|curves| &curves.recall), at(|curves| &curves.f1)]
}
