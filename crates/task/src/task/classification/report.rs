//! The metrics of classification, and its report: the confusion matrix, the classes, and the mistakes.

use serde::Deserialize;

use super::comparison;
use super::subsets::{self, AccuracyBySubset};
use crate::error::Result;
use crate::metrics::{ClassMetrics, ClassificationScores, Direction, Metric, MetricFormat, TaskMetrics};
use crate::report::{
    ColumnKind, Prediction, ReportColumn, ReportPart, ReportTable, StageFiles, TableCell, TaskReport,
    TaskReporting, Tile, confusion_matrix, count, mistakes, number, percent, read_predictions,
};
use crate::task::probabilities::{self, AUC, ECE};

const LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower);
const ACCURACY: Metric = Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher)
    .drawn("Accuracy", "images classified correctly, %");
const MACRO_F1: Metric = Metric::new("macro_f1", "macro F1", MetricFormat::Share, Direction::Higher);

/// Mean average precision of each class against the others.
const MAP: Metric = Metric::new("map", "mAP", MetricFormat::Share, Direction::Higher);

pub static METRICS: TaskMetrics = TaskMetrics {
    history: &[
        LOSS.drawn("Loss", "mean per image").in_training().column(8),
        ACCURACY.in_training().column(0),
        MACRO_F1,
        AUC.optional(),
        MAP.optional(),
    ],
    evaluation: &[ACCURACY.column(2), AUC.column(3), MAP, MACRO_F1.column(7), ECE.column(8), LOSS.column(9)],
    headline: &["accuracy"],
};

/// Any stage that does not belong to another task.
pub static REPORTING: TaskReporting = TaskReporting {
    name: "classification",
    metrics: &METRICS,
    files: &[
        &[
            "predictions.csv",
            subsets::FILE,
            "confusion_matrix.csv",
            "confusion_matrix.svg",
            "confusion_matrix.png",
        ],
        probabilities::FILES,
        probabilities::MISTAKE_FILES,
    ],
    is_of: |_| true,
    report,
    compared: comparison::evaluation,
    compared_images: comparison::images,
};

/// What `metrics.json` has in addition to scores.
#[derive(Deserialize)]
struct Document {
    subsets: Option<AccuracyBySubset>,
}

fn report(files: &StageFiles) -> Result<TaskReport> {
    let metrics: ClassificationScores = files.json("metrics.json")?;
    let predictions = files.table("predictions.csv", read_predictions)?;
    let mut report = parts(files.stage, &metrics, &predictions);
    let Document { subsets } = files.json("metrics.json")?;
    if let Some(scores) = probabilities::of_document(files)? {
        let intervals = [("accuracy", "accuracy"), ("macro F1", "macro_f1")];
        probabilities::complete_tiles(&mut report.parts, &scores, &intervals);
        report.parts.extend(probabilities::report_parts(files, &scores)?);
    }
    report.parts.extend(probabilities::mistake_parts(files)?);
    report.parts.extend(subsets.map(|scores| ReportPart::Table(subsets::table(&scores))));
    Ok(report)
}

fn parts(stage: &str, metrics: &ClassificationScores, predictions: &[Prediction]) -> TaskReport {
    let mut parts = vec![
        ReportPart::Tiles(tiles(metrics)),
        ReportPart::Picture(confusion_matrix(stage, metrics)),
        ReportPart::Table(classes(metrics)),
    ];
    let confidence = |row: &Prediction| row.probabilities.iter().copied().fold(0.0, f32::max);
    parts.extend(mistakes(predictions, ["true class", "probability"], confidence));
    TaskReport { headline: vec![(&ACCURACY, metrics.accuracy), (&MACRO_F1, metrics.macro_f1)], parts }
}

fn tiles(metrics: &ClassificationScores) -> Vec<Tile> {
    let mut tiles = vec![Tile::new(percent(metrics.accuracy), "accuracy")];
    tiles.extend(metrics.top5_accuracy.map(|top5| Tile::new(percent(top5), "top-5 accuracy")));
    tiles.extend([
        Tile::new(percent(metrics.macro_f1), "macro F1"),
        Tile::new(number(metrics.loss), "loss"),
        Tile::new(count(metrics.samples), "images"),
    ]);
    tiles
}

fn classes(metrics: &ClassificationScores) -> ReportTable {
    let row = |class: &ClassMetrics| -> Vec<TableCell> {
        vec![
            class.class.as_str().into(),
            percent(class.precision).into(),
            percent(class.recall).into(),
            percent(class.f1).into(),
            TableCell::Share(class.f1),
            count(class.support).into(),
        ]
    };
    ReportTable {
        title: "Classes".to_owned(),
        columns: vec![
            ReportColumn::new("class", ColumnKind::Name),
            ReportColumn::new("precision", ColumnKind::Number),
            ReportColumn::new("recall", ColumnKind::Number),
            ReportColumn::new("F1", ColumnKind::Number),
            ReportColumn::new("", ColumnKind::Bar),
            ReportColumn::new("images", ColumnKind::Number),
        ],
        rows: metrics.per_class.iter().map(row).collect(),
        always_open: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ClassificationMetrics;

    #[test]
    fn a_report_has_the_classes_and_the_mistakes_the_most_confident_first() {
        let classes = ["a", "b"].map(str::to_owned);
        let mut meter = ClassificationMetrics::new(2);
        meter.update(&[0.4, 0.6, 1.0, 0.0, 0.9, 0.1], &[0, 0, 1], &[0.1, 0.2, 0.3]).unwrap();
        let text =
            "file,label,predicted,probability a,probability b\nx,a,b,0.4,0.6\ny,a,a,1,0\nz,b,a,0.9,0.1\n";
        let report = parts("test", &meter.finish(&classes).unwrap(), &read_predictions(text).unwrap());
        assert_eq!(report.headline[0].0.name, "accuracy");
        let tables: Vec<&ReportTable> = report
            .parts
            .iter()
            .filter_map(|part| match part {
                ReportPart::Table(table) => Some(table),
                _ => None,
            })
            .collect();
        let [classes, mistakes] = tables[..] else { panic!("two tables: {tables:?}") };
        assert_eq!(classes.rows.len(), 2);
        let files: Vec<&TableCell> = mistakes.rows.iter().map(|row| &row[0]).collect();
        assert_eq!(files, [&TableCell::from("z"), &TableCell::from("x")]);
        assert_eq!(mistakes.rows[0][3], "90.0\u{a0}%".into());
    }
}
