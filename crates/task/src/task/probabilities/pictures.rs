//! The tables and figures of probabilities: ROC and precision-recall curves, the reliability diagram, and thresholds.

use super::scores::{ProbabilityScores, RankingScores};
use crate::csv_cells;
use crate::error::Result;
use crate::metrics::probabilities::{ClassRanking, RankedCurves};
use crate::report::{
    ClassCurve, ClassCurves, StageFiles, Svg, class_curves, class_curves_csv, png, read_class_curves,
    reliability_csv, reliability_diagram, significant, thresholds_csv,
};
use crate::task::TaskFile;

/// The files in the order of a report's links.
pub const FILES: &[&str] = &[
    "ROC_curve.csv",
    "ROC_curve.svg",
    "ROC_curve.png",
    "PR_curve.csv",
    "PR_curve.svg",
    "PR_curve.png",
    "reliability.csv",
    "reliability.svg",
    "reliability.png",
    "thresholds.csv",
];

/// The steps of the horizontal axis in the tables.
const STEPS: u32 = 500;

/// Of more classes, tables have the mean alone.
const MOST_CLASSES: usize = 100;

/// One of the curves.
struct CurveKind {
    files: [&'static str; 3],
    heading: &'static str,
    x_name: &'static str,
    x_title: &'static str,
    y_title: &'static str,
    values: fn(RankedCurves) -> Vec<f64>,
    /// The number in the legend.
    number: fn(&RankingScores) -> Option<f64>,
    mean: fn(&ProbabilityScores) -> Option<f64>,
    /// What a model without skill gives, if that is the same for all classes.
    chance: Option<[[f64; 2]; 2]>,
}

const CURVES: [CurveKind; 2] = [
    CurveKind {
        files: [FILES[0], FILES[1], FILES[2]],
        heading: "ROC of each class against the others, with its area",
        x_name: "false_positive_rate",
        x_title: "false positive rate (1 − specificity)",
        y_title: "sensitivity",
        values: |curves| curves.sensitivity,
        number: |class| class.auc,
        mean: |scores| scores.auc,
        chance: Some([[0.0, 0.0], [1.0, 1.0]]),
    },
    CurveKind {
        files: [FILES[3], FILES[4], FILES[5]],
        heading: "Precision by recall, with the average precision",
        x_name: "recall",
        x_title: "recall (sensitivity)",
        y_title: "precision",
        values: |curves| curves.precision,
        number: |class| class.auc.map(|_| class.average_precision),
        mean: |scores| scores.map,
        chance: None,
    },
];

pub fn files(
    stage: &str,
    classes: &[String],
    rankings: &[ClassRanking],
    scores: &ProbabilityScores,
) -> Result<Vec<TaskFile>> {
    let x: Vec<f64> = (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS)).collect();
    let mut files = Vec::new();
    for kind in &CURVES {
        let curve = |(class, ranking): (&String, &ClassRanking)| ClassCurve {
            class: class.clone(),
            values: (kind.values)(ranking.curves(&x)),
            number: String::new(),
        };
        let mut curves: Vec<ClassCurve> = classes.iter().zip(rankings).map(curve).collect();
        let mean = mean(&curves, x.len());
        if curves.len() > MOST_CLASSES {
            curves.clear();
        }
        let table = class_curves_csv(kind.x_name, &x, &mean, &curves);
        let picture = draw(kind, stage, scores, (&x, &mean, curves));
        let [csv, svg, bitmap] = kind.files;
        files.push(TaskFile::new(csv, table));
        files.push(TaskFile::new(svg, picture.document()));
        files.push(TaskFile::new(bitmap, png(&picture)?));
    }
    let calibrated = scores.fitted.as_ref().and_then(|fitted| fitted.calibration.as_ref());
    let picture = reliability_diagram(stage, &scores.calibration, calibrated);
    files.push(TaskFile::new(FILES[6], reliability_csv(&scores.calibration, calibrated)));
    files.push(TaskFile::new(FILES[7], picture.document()));
    files.push(TaskFile::new(FILES[8], png(&picture)?));
    if let Some(thresholds) = scores.fitted.as_ref().and_then(|fitted| fitted.thresholds.as_ref()) {
        let rows = thresholds.iter().map(|class| {
            let of = |scores: &super::scores::DecisionScores| {
                [scores.sensitivity, scores.specificity, scores.precision, scores.f1]
            };
            let name = csv_cells::text(&class.class).into_owned();
            (name, class.threshold, of(&class.evaluated), of(&class.validation))
        });
        files.push(TaskFile::new(FILES[9], thresholds_csv(rows)));
    }
    Ok(files)
}

/// Over the classes that have a value.
fn mean(curves: &[ClassCurve], length: usize) -> Vec<f64> {
    let of_place = |place: usize| {
        let values: Vec<f64> =
            curves.iter().map(|curve| curve.values[place]).filter(|value| value.is_finite()).collect();
        // Without any class, 0 / 0 is no number.
        values.iter().sum::<f64>() / values.len() as f64
    };
    (0..length).map(of_place).collect()
}

fn draw(
    kind: &CurveKind,
    stage: &str,
    scores: &ProbabilityScores,
    (x, mean, mut curves): (&[f64], &[f64], Vec<ClassCurve>),
) -> Svg {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| significant(value, 3));
    for (curve, class) in curves.iter_mut().zip(&scores.one_vs_rest) {
        curve.number = number((kind.number)(class));
    }
    let mean_number = number((kind.mean)(scores));
    class_curves(
        stage,
        &ClassCurves {
            heading: kind.heading,
            x_title: kind.x_title,
            y_title: kind.y_title,
            x,
            mean,
            mean_number: &mean_number,
            mark: None,
            chance: kind.chance,
            classes: &curves,
        },
    )
}

/// The figures for a report, from the tables of a run.
///
/// # Errors
/// A table has another format.
pub fn of_report(files: &StageFiles, scores: &ProbabilityScores) -> Result<Vec<Svg>> {
    let mut pictures = Vec::new();
    for kind in &CURVES {
        let (x, mean, curves) = files.table(kind.files[0], read_class_curves)?;
        if !x.is_empty() {
            pictures.push(draw(kind, files.stage, scores, (&x, &mean, curves)));
        }
    }
    let calibrated = scores.fitted.as_ref().and_then(|fitted| fitted.calibration.as_ref());
    pictures.push(reliability_diagram(files.stage, &scores.calibration, calibrated));
    Ok(pictures)
}
