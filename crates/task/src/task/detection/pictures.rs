//! The tables and figures of an evaluation: curves by class, and the confusion matrix with the background.

use super::predictions::GROUND_TRUTH;
use super::{errors, subsets};
use crate::error::Result;
use crate::metrics::detection::{
    CONFUSION_CONFIDENCE, CONFUSION_IOU, ClassCurves as Curves, ClassDetectionScores, DetectionConfusion,
    DetectionCurves, DetectionMetrics, DetectionScores, curve_position,
};
use crate::report::{
    CellText, ClassCurve, ClassCurves, ComparedMatrix, MatrixPicture, ShareOf, StageFiles, Svg, class_curves,
    class_curves_csv, matrix_csv, matrix_picture, png, read_class_curves, read_matrix,
};
use crate::task::TaskFile;

/// One of the curves.
struct CurveKind {
    /// The names of its CSV, SVG and PNG files.
    files: [&'static str; 3],
    heading: &'static str,
    x_title: &'static str,
    y_title: &'static str,
    values: fn(&Curves) -> &Vec<f64>,
    /// Whether it is drawn over recall, not over confidence.
    by_recall: bool,
}

const CURVES: [CurveKind; 4] = [
    CurveKind {
        files: ["PR_curve.csv", "PR_curve.svg", "PR_curve.png"],
        heading: "Precision by recall, at IoU 0.5",
        x_title: "recall",
        y_title: "precision",
        values: |curves| &curves.precision_by_recall,
        by_recall: true,
    },
    CurveKind {
        files: ["F1_curve.csv", "F1_curve.svg", "F1_curve.png"],
        heading: "F1 by confidence",
        x_title: "confidence",
        y_title: "F1",
        values: |curves| &curves.f1,
        by_recall: false,
    },
    CurveKind {
        files: ["P_curve.csv", "P_curve.svg", "P_curve.png"],
        heading: "Precision by confidence",
        x_title: "confidence",
        y_title: "precision",
        values: |curves| &curves.precision,
        by_recall: false,
    },
    CurveKind {
        files: ["R_curve.csv", "R_curve.svg", "R_curve.png"],
        heading: "Recall by confidence",
        x_title: "confidence",
        y_title: "recall",
        values: |curves| &curves.recall,
        by_recall: false,
    },
];

/// The names of the files that reports link.
pub const FILES: [&str; 33] = [
    "predictions.csv",
    "predictions_coco.json",
    "predictions_coco_ids.json",
    GROUND_TRUTH,
    "results.csv",
    "confusion_matrix.csv",
    "confusion_matrix.svg",
    "confusion_matrix.png",
    "confusion_matrix_normalized.svg",
    "confusion_matrix_normalized.png",
    "PR_curve.csv",
    "PR_curve.svg",
    "PR_curve.png",
    "F1_curve.csv",
    "F1_curve.svg",
    "F1_curve.png",
    "P_curve.csv",
    "P_curve.svg",
    "P_curve.png",
    "R_curve.csv",
    "R_curve.svg",
    "R_curve.png",
    subsets::FILE,
    errors::FILES[0],
    errors::FILES[1],
    errors::FILES[2],
    errors::FILES[3],
    "val_batch0_labels.jpg",
    "val_batch0_pred.jpg",
    "val_batch1_labels.jpg",
    "val_batch1_pred.jpg",
    "val_batch2_labels.jpg",
    "val_batch2_pred.jpg",
];

const CONFUSION_CSV: &str = "confusion_matrix.csv";
/// The titles of its rows and columns.
const MATRIX_AXES: [&str; 2] = ["predicted class", "true class"];

/// The matrix as numbers and as shares of the true class.
const MATRICES: [(CellText, &str, &str); 2] = [
    (CellText::CountAlone, "confusion_matrix.svg", "confusion_matrix.png"),
    (CellText::Share, "confusion_matrix_normalized.svg", "confusion_matrix_normalized.png"),
];

pub fn files(stage: &str, classes: &[String], metrics: &DetectionMetrics) -> Result<Vec<TaskFile>> {
    let (scores, curves) = (metrics.finish(classes)?, metrics.curves());
    let mut files = Vec::new();
    for kind in &CURVES {
        let Some(drawing) = CurveDrawing::new(kind, &scores, &curves) else { continue };
        let picture = drawing.picture(stage);
        let [csv, svg, bitmap] = kind.files;
        let CurveDrawing { x, mean, classes, .. } = &drawing;
        files.push(TaskFile::new(csv, class_curves_csv(kind.x_title, x, mean, classes)));
        files.push(TaskFile::new(svg, picture.document()));
        files.push(TaskFile::new(bitmap, png(&picture)?));
    }
    let counts = counts(metrics.confusion());
    let names = names(classes);
    files.push(TaskFile::new(CONFUSION_CSV, matrix_csv("predicted/true", &names, &counts)));
    for (text, svg, bitmap) in MATRICES {
        let picture = confusion(stage, &names, &counts, text);
        files.push(TaskFile::new(svg, picture.document()));
        files.push(TaskFile::new(bitmap, png(&picture)?));
    }
    Ok(files)
}

/// The figures of a report, drawn from the tables of a finished stage: precision by recall, F1 by confidence, and the
/// confusion matrices.
pub fn of_stage(files: &StageFiles, scores: &DetectionScores) -> Result<Vec<Svg>> {
    let mut pictures = Vec::new();
    for kind in &CURVES[..2] {
        let drawing = files.table(kind.files[0], |text| Ok(Some(CurveDrawing::read(kind, scores, text)?)))?;
        pictures.extend(drawing.map(|drawing| drawing.picture(files.stage)));
    }
    if let Some(ComparedMatrix { names, counts, .. }) = matrix(files, scores)? {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        pictures.extend(MATRICES.map(|(text, _, _)| confusion(files.stage, &names, &counts, text)));
    }
    Ok(pictures)
}

/// The confusion matrix of a finished stage; `None` if it has none.
pub fn matrix(files: &StageFiles, scores: &DetectionScores) -> Result<Option<ComparedMatrix>> {
    let counts = files.table(CONFUSION_CSV, read_matrix)?;
    let classes: Vec<String> = scores.classes.iter().map(|class| class.class.clone()).collect();
    let names: Vec<String> = names(&classes).into_iter().map(str::to_owned).collect();
    let fits = counts.len() == names.len() && counts.iter().all(|row| row.len() == names.len());
    let [row_title, column_title] = MATRIX_AXES;
    let matrix = ComparedMatrix { names, counts, row_title, column_title, shares: ShareOf::Column };
    Ok(fits.then_some(matrix))
}

/// The x of a curve, its mean, and each class.
pub type Curve = (Vec<f64>, Vec<f64>, Vec<ClassCurve>);

/// A curve of a finished stage; `None` if it has none.
pub fn curve(files: &StageFiles, csv: &str) -> Result<Option<Curve>> {
    files.table(csv, |text| Ok(Some(read_class_curves(text)?)))
}

/// The numbers of one picture.
struct CurveDrawing<'a> {
    kind: &'a CurveKind,
    x: Vec<f64>,
    mean: Vec<f64>,
    mean_number: String,
    mark: Option<[f64; 2]>,
    classes: Vec<ClassCurve>,
}

impl<'a> CurveDrawing<'a> {
    /// `None` without any object to find.
    fn new(kind: &'a CurveKind, scores: &DetectionScores, curves: &DetectionCurves) -> Option<Self> {
        let mean = (kind.values)(curves.mean.as_ref()?).clone();
        let x = (0..mean.len()).map(curve_position).collect();
        let class = |(class, curves): (&ClassDetectionScores, &Option<Curves>)| {
            let values = (kind.values)(curves.as_ref()?).clone();
            Some(ClassCurve { class: class.class.clone(), values, number: String::new() })
        };
        let classes = scores.classes.iter().zip(&curves.classes).filter_map(class).collect();
        Some(Self::with_numbers(kind, scores, (x, mean, classes)))
    }

    /// From a table that [`files`] wrote.
    fn read(kind: &'a CurveKind, scores: &DetectionScores, text: &str) -> Result<Self> {
        Ok(Self::with_numbers(kind, scores, read_class_curves(text)?))
    }

    /// Adds what the legend says.
    fn with_numbers(
        kind: &'a CurveKind,
        scores: &DetectionScores,
        (x, mean, mut classes): (Vec<f64>, Vec<f64>, Vec<ClassCurve>),
    ) -> Self {
        let best = |values: &[f64]| {
            let most = values.iter().copied().fold(0.0, f64::max);
            let place = values.iter().position(|value| *value == most).unwrap_or_default();
            [x.get(place).copied().unwrap_or_default(), most]
        };
        let number = |values: &[f64], ap50: Option<f64>| match kind.by_recall {
            true => ap50.map(|ap50| format!("{ap50:.3}")).unwrap_or_default(),
            false => {
                let [at, most] = best(values);
                format!("{most:.2} at {at:.3}")
            }
        };
        for curve in &mut classes {
            let of_class = scores.classes.iter().find(|class| class.class == curve.class);
            curve.number = number(&curve.values, of_class.and_then(|class| class.ap50));
        }
        let mark = (!kind.by_recall).then(|| best(&mean));
        Self { mean_number: number(&mean, scores.ap50), mark, kind, x, mean, classes }
    }

    fn picture(&self, stage: &str) -> Svg {
        let CurveKind { heading, x_title, y_title, .. } = *self.kind;
        let Self { x, mean, mean_number, mark, classes, .. } = self;
        class_curves(
            stage,
            &ClassCurves {
                heading,
                x_title,
                y_title,
                x,
                mean,
                mean_number,
                mark: *mark,
                chance: None,
                classes,
            },
        )
    }
}

fn counts(confusion: &DetectionConfusion) -> Vec<Vec<u64>> {
    confusion.rows().map(<[u64]>::to_vec).collect()
}

fn names(classes: &[String]) -> Vec<&str> {
    classes.iter().map(String::as_str).chain(["background"]).collect()
}

/// Rows are predicted classes and columns true ones, the last of both is the background. The colour is the fraction of
/// each column.
fn confusion(stage: &str, names: &[&str], counts: &[Vec<u64>], text: CellText) -> Svg {
    let [row_title, column_title] = MATRIX_AXES;
    let subtitle =
        format!("boxes with a confidence above {CONFUSION_CONFIDENCE} and an IoU above {CONFUSION_IOU}");
    matrix_picture(&MatrixPicture {
        title: stage,
        subtitle: &subtitle,
        names: names.to_vec(),
        counts,
        row_title,
        column_title,
        shares: ShareOf::Column,
        share_title: "share of the true class",
        text,
    })
}
