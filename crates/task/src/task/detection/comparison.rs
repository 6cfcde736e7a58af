//! What a comparison shows of an evaluation: the scores of each class, curves, the confusion matrix, and images with the
//! boxes that are right, wrong and missed.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::pictures::{self, Curve};
use super::predictions::GROUND_TRUTH;
use crate::error::Result;
use crate::metrics::detection::{
    self, ClassDetectionScores, Detection, DetectionScores, GroundTruth, ImageErrors, NmsSettings,
    SoughtObject,
};
use crate::report::{
    ClassCurve, ComparedCurve, ComparedEvaluation, ComparedImage, ComparedImages, ComparedNumber,
    ImageAnswer, ImageBox, JudgedBox, StageFiles, Verdict, read_boxes,
};

/// Precision is compared at this recall: the row of `precision_at_recall_0.6`.
const RECALL: f64 = 0.6;

pub fn evaluation(files: &StageFiles) -> Result<ComparedEvaluation> {
    let scores: DetectionScores = files.json("metrics.json")?;
    let curve =
        |[file, heading, x_title, y_title]: [&'static str; 4], curve: &Option<Curve>, score: Option<f64>| {
            let (x, mean, _) = curve.clone()?;
            Some(ComparedCurve { file, heading, x_title, y_title, x, y: mean, score })
        };
    let [precision, f1] = [pictures::curve(files, "PR_curve.csv")?, pictures::curve(files, "F1_curve.csv")?];
    let mut numbers: Vec<ComparedNumber> = scores.classes.iter().flat_map(of_class).collect();
    numbers.extend(precision.iter().flat_map(of_precision));
    numbers.extend(f1.iter().flat_map(|curve| of_f1(curve, &scores.classes)));
    let heading = "Precision by recall, at IoU 0.5";
    let curves = [
        curve(["PR_curve", heading, "recall", "precision"], &precision, scores.ap50),
        curve(["F1_curve", "F1 by confidence", "confidence", "F1"], &f1, scores.f1),
    ];
    let matrix = pictures::matrix(files, &scores)?;
    Ok(ComparedEvaluation { numbers, curves: curves.into_iter().flatten().collect(), matrix })
}

/// The scores of one class, as `ap50/car`. Precision, recall and F1 are at the confidence that all classes share.
fn of_class(class: &ClassDetectionScores) -> Vec<ComparedNumber> {
    let named = [
        ("ap50_95", class.ap50_95),
        ("ap50", class.ap50),
        ("ap_small", class.ap_small),
        ("precision", class.precision),
        ("recall", class.recall),
        ("f1", class.f1),
    ];
    let number = |(name, value): (&str, Option<f64>)| {
        Some(ComparedNumber::share(format!("{name}/{}", class.class), value?))
    };
    named.into_iter().filter_map(number).collect()
}

/// The precision at one recall and the area below the curve, of all classes and of each.
fn of_precision((x, mean, classes): &Curve) -> Vec<ComparedNumber> {
    let numbers = |class: Option<&str>, y: &[f64]| {
        let end = class.map(|class| format!("/{class}")).unwrap_or_default();
        let at = x.iter().position(|x| *x >= RECALL);
        let precision = at.and_then(|at| y.get(at).copied());
        let precision =
            precision.map(|value| ComparedNumber::share(format!("precision_at_recall_{RECALL}{end}"), value));
        precision.into_iter().chain([ComparedNumber::share(format!("pr_area{end}"), area(x, y))])
    };
    let of_classes = classes.iter().flat_map(|class| numbers(Some(&class.class), &class.values));
    numbers(None, mean).chain(of_classes).collect()
}

/// The area below a curve: the trapezoidal rule.
fn area(x: &[f64], y: &[f64]) -> f64 {
    let strip = |at: usize| (x[at] - x[at - 1]) * (y[at] + y[at - 1]) / 2.0;
    (1..x.len().min(y.len())).map(strip).sum()
}

/// F1 where each class has the confidence that is best for it alone, and the mean over the classes.
fn of_f1((x, _, classes): &Curve, scores: &[ClassDetectionScores]) -> Vec<ComparedNumber> {
    let best = |curve: &ClassCurve| {
        let class = scores.iter().find(|class| class.class == curve.class)?;
        let value = match class.best_confidence {
            Some(confidence) => *curve.values.get(x.iter().position(|x| *x >= confidence)?)?,
            // Nothing is right at any confidence.
            None => 0.0,
        };
        Some(ComparedNumber::share(format!("best_f1/{}", class.class), value))
    };
    let mut numbers: Vec<ComparedNumber> = classes.iter().filter_map(best).collect();
    if !numbers.is_empty() {
        let mean = numbers.iter().map(|number| number.value).sum::<f64>() / numbers.len() as f64;
        numbers.push(ComparedNumber::share("best_f1", mean));
    }
    numbers
}

/// `ground_truth_coco.json`.
#[derive(Deserialize)]
struct CocoTruth {
    images: Vec<CocoImage>,
    annotations: Vec<CocoObject>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct CocoObject {
    image_id: u64,
    /// From 1.
    category_id: u32,
    /// Left, top, width and height.
    bbox: [f64; 4],
    area: f64,
    iscrowd: u8,
    ignore: u8,
}

/// The images with the boxes that are at least as confident as `confidence`, or else as the evaluation's best confidence.
pub fn images(files: &StageFiles, confidence: Option<f64>) -> Result<ComparedImages> {
    let scores: DetectionScores = files.json("metrics.json")?;
    let classes: Vec<String> = scores.classes.iter().map(|class| class.class.clone()).collect();
    let usual = || scores.best_confidence.unwrap_or(f64::from(NmsSettings::PREDICTION.confidence));
    let threshold = confidence.unwrap_or_else(usual);
    // Evaluations of earlier versions have no such file.
    let Some(truth) = files.optional_json::<CocoTruth>(GROUND_TRUTH)? else {
        return Ok(ComparedImages::default());
    };
    let mut objects: BTreeMap<u64, Vec<GroundTruth>> = BTreeMap::new();
    for object in truth.annotations {
        objects.entry(object.image_id).or_default().push(object.ground_truth());
    }
    let mut found: BTreeMap<String, Vec<Detection>> = BTreeMap::new();
    for (file, shown) in files.table("predictions.csv", |text| read_boxes(text, &classes))? {
        let score = shown.score.unwrap_or_default();
        if f64::from(score) >= threshold {
            let corners = [shown.left, shown.top, shown.right, shown.bottom].map(f64::from);
            found.entry(file).or_default().push(Detection { class: shown.class as u32, score, corners });
        }
    }
    let image = |image: CocoImage| {
        let truth = objects.remove(&image.id).unwrap_or_default();
        let found = found.remove(&image.file_name).unwrap_or_default();
        (image.file_name, judge(&found, &truth))
    };
    Ok(ComparedImages { images: truth.images.into_iter().map(image).collect(), classes })
}

impl CocoObject {
    fn ground_truth(&self) -> GroundTruth {
        let [left, top, width, height] = self.bbox;
        GroundTruth {
            class: self.category_id.saturating_sub(1),
            corners: [left, top, left + width, top + height],
            area: self.area,
            crowd: self.iscrowd != 0,
            ignored: self.ignore != 0,
        }
    }
}

/// Matches as the scores at an IoU of 0.5 do. A box on a crowd or a difficult object is neither right nor wrong, and is
/// not shown.
fn judge(found: &[Detection], truth: &[GroundTruth]) -> ComparedImage {
    let ImageErrors { verdicts, objects } = ImageErrors::of(found, truth);
    let of_detection = |judgement: &detection::Verdict| {
        let verdict = if judgement.error.is_none() { Verdict::Hit } else { Verdict::FalseAlarm };
        let corners = found[judgement.detection].corners;
        judged(judgement.class, Some(judgement.score), corners, verdict)
    };
    let of_object =
        |object: &SoughtObject, verdict| judged(object.class, None, truth[object.index].corners, verdict);
    let missed = objects.iter().filter(|object| object.hit.is_none());
    let missed: Vec<JudgedBox> = missed.map(|object| of_object(object, Verdict::Missed)).collect();
    let mut boxes: Vec<JudgedBox> = verdicts.iter().map(of_detection).collect();
    let false_alarms = verdicts.iter().filter(|judgement| judgement.error.is_some()).count();
    let caption = caption(boxes.len() - false_alarms, missed.len(), false_alarms);
    let mistakes = (missed.len() + false_alarms) as u64;
    boxes.extend(missed);
    ComparedImage {
        truth: ImageAnswer {
            caption: None,
            boxes: objects.iter().map(|object| of_object(object, Verdict::Truth)).collect(),
        },
        predicted: ImageAnswer { caption: Some(caption), boxes },
        mistakes,
    }
}

/// Such as `2 found, 1 missed, 3 false`.
fn caption(found: usize, missed: usize, false_alarms: usize) -> String {
    let counts = [(found, "found"), (missed, "missed"), (false_alarms, "false")];
    let parts = counts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    if parts.is_empty() { "nothing found".to_owned() } else { parts.join(", ") }
}

fn judged(class: u32, score: Option<f32>, corners: [f64; 4], verdict: Verdict) -> JudgedBox {
    let [left, top, right, bottom] = corners.map(|corner| corner as f32);
    JudgedBox { shown: ImageBox { class: class as usize, score, left, top, right, bottom }, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(class: u32, score: f32, left: f64) -> Detection {
        Detection { class, score, corners: [left, 0.0, left + 10.0, 10.0] }
    }

    fn object(class: u32, left: f64) -> GroundTruth {
        let corners = [left, 0.0, left + 10.0, 10.0];
        GroundTruth { class, corners, area: 100.0, crowd: false, ignored: false }
    }

    #[test]
    fn boxes_are_right_wrong_or_missed() {
        let truth = [
            object(0, 0.0),
            object(1, 100.0),
            GroundTruth { ignored: true, ..object(0, 200.0) },
            GroundTruth { crowd: true, ..object(1, 300.0) },
        ];
        let found = vec![
            detection(0, 0.5, 1.0),
            detection(0, 0.9, 2.0),
            detection(0, 0.8, 100.0),
            detection(0, 0.7, 200.0),
            detection(1, 0.7, 300.0),
        ];
        let image = judge(&found, &truth);
        let verdicts: Vec<Verdict> = image.predicted.boxes.iter().map(|judged| judged.verdict).collect();
        use Verdict::{FalseAlarm, Hit, Missed};
        assert_eq!(verdicts, [Hit, FalseAlarm, FalseAlarm, Missed]);
        assert_eq!((image.truth.boxes.len(), image.mistakes), (2, 3));
        assert_eq!(image.predicted.caption.as_deref(), Some("1 found, 1 missed, 2 false"));
        assert_eq!(judge(&[], &[]).predicted.caption.as_deref(), Some("nothing found"));
    }

    #[test]
    fn curves_have_a_precision_at_a_recall_and_an_area() {
        let x: Vec<f64> = (0..=10).map(|i| f64::from(i) / 10.0).collect();
        let y: Vec<f64> = x.iter().map(|x| 1.0 - x).collect();
        let class = |name: &str, values: &[f64]| ClassCurve {
            class: name.to_owned(),
            values: values.to_vec(),
            number: String::new(),
        };
        let numbers = of_precision(&(x.clone(), y.clone(), vec![class("car", &[1.0; 11])]));
        let named: Vec<(&str, f64)> =
            numbers.iter().map(|number| (number.name.as_str(), (number.value * 1e9).round() / 1e9)).collect();
        let expected = [
            ("precision_at_recall_0.6", 0.4),
            ("pr_area", 0.5),
            ("precision_at_recall_0.6/car", 1.0),
            ("pr_area/car", 1.0),
        ];
        assert_eq!(named, expected);
    }
}
