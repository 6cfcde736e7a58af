//! The metrics of multi-label classification, and its report: the labels, and the mistakes.

use serde_json::Value;

use super::task::RECIPE_FIELD;
use crate::data::LABELS_BETWEEN;
use crate::error::Result;
use crate::metrics::{Direction, LabelMetrics, Metric, MetricFormat, MultiLabelScores, TaskMetrics};
use crate::report::{
    ColumnKind, Prediction, ReportColumn, ReportPart, ReportTable, StageFiles, TableCell, TaskReport,
    TaskReporting, Tile, count, mistakes, number, percent, read_predictions,
};
use crate::task::probabilities::{self, AUC, ECE};

const LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower);
/// The fraction of images with every label predicted correctly.
const ACCURACY: Metric = Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher)
    .drawn("Accuracy", "images classified correctly, %");
const MACRO_F1: Metric = Metric::new("macro_f1", "macro F1", MetricFormat::Share, Direction::Higher);
const MICRO_F1: Metric = Metric::new("micro_f1", "micro F1", MetricFormat::Share, Direction::Higher);
const MAP: Metric = Metric::new("map", "mAP", MetricFormat::Share, Direction::Higher)
    .drawn("Mean average precision", "mean over the labels, %");

pub static METRICS: TaskMetrics = TaskMetrics {
    history: &[
        LOSS.drawn("Loss", "mean per image").in_training().column(8),
        ACCURACY.in_training().column(0),
        MACRO_F1,
        MAP.optional().column(1),
        AUC.optional(),
    ],
    evaluation: &[
        MAP,
        ACCURACY.column(2),
        AUC.column(3),
        MICRO_F1.column(6),
        MACRO_F1.column(7),
        ECE.column(8),
        LOSS.column(9),
    ],
    headline: &["map", "accuracy"],
};

pub static REPORTING: TaskReporting = TaskReporting {
    name: "multi_label",
    metrics: &METRICS,
    files: &[&["predictions.csv", "labels.csv"], probabilities::FILES, probabilities::MISTAKE_FILES],
    is_of,
    report,
    compared: TaskReporting::NOTHING_COMPARED,
    compared_images: TaskReporting::NO_IMAGES_COMPARED,
};

/// Whether its model, or the first of several, predicts labels.
fn is_of(document: &Value) -> bool {
    let models = [&document["model"], &document["ensemble"][0]];
    models.iter().any(|model| model[RECIPE_FIELD] == true)
}

fn report(files: &StageFiles) -> Result<TaskReport> {
    let metrics: MultiLabelScores = files.json("metrics.json")?;
    let predictions = files.table("predictions.csv", read_predictions)?;
    let mut parts = vec![ReportPart::Tiles(tiles(&metrics)), ReportPart::Table(labels(&metrics))];
    if let Some(scores) = probabilities::of_document(files)? {
        let intervals = [("mAP", "map"), ("micro F1", "micro_f1"), ("macro F1", "macro_f1")];
        probabilities::complete_tiles(&mut parts, &scores, &intervals);
        parts.extend(probabilities::report_parts(files, &scores)?);
    }
    let worst = |row: &Prediction| worst_error(row, &metrics);
    parts.extend(mistakes(&predictions, ["true labels", "of the surest error"], worst));
    parts.extend(probabilities::mistake_parts(files)?);
    let headline = metrics.map.map(|map| (&MAP, map)).into_iter().chain([(&MICRO_F1, metrics.micro_f1)]);
    Ok(TaskReport { headline: headline.collect(), parts })
}

/// The largest error of a prediction over all labels: the difference between the true label (0 or 1) and its
/// probability.
fn worst_error(row: &Prediction, metrics: &MultiLabelScores) -> f32 {
    let shown: Vec<&str> = row.label.split(LABELS_BETWEEN).collect();
    let labels = metrics.per_class.iter().map(|label| label.class.as_str());
    let errors = labels.zip(&row.probabilities);
    let errors = errors.map(|(label, p)| if shown.contains(&label) { 1.0 - p } else { *p });
    errors.fold(0.0, f32::max)
}

fn tiles(metrics: &MultiLabelScores) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = metrics.map.map(|map| Tile::new(percent(map), "mAP")).into_iter().collect();
    tiles.extend([
        Tile::new(percent(metrics.micro_f1), "micro F1"),
        Tile::new(percent(metrics.macro_f1), "macro F1"),
        Tile::new(percent(metrics.accuracy), "images with all labels right"),
        Tile::new(number(metrics.loss), "loss"),
        Tile::new(count(metrics.samples), "images"),
    ]);
    tiles
}

fn labels(metrics: &MultiLabelScores) -> ReportTable {
    let row = |label: &LabelMetrics| -> Vec<TableCell> {
        let average_precision = label.average_precision.unwrap_or_default();
        vec![
            label.class.as_str().into(),
            percent(label.precision).into(),
            percent(label.recall).into(),
            percent(label.f1).into(),
            percent(average_precision).into(),
            TableCell::Share(average_precision),
            count(label.support).into(),
        ]
    };
    ReportTable {
        title: "Labels".to_owned(),
        columns: vec![
            ReportColumn::new("label", ColumnKind::Name),
            ReportColumn::new("precision", ColumnKind::Number),
            ReportColumn::new("recall", ColumnKind::Number),
            ReportColumn::new("F1", ColumnKind::Number),
            ReportColumn::new("average precision", ColumnKind::Number),
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
    use crate::metrics::MultiLabelMetrics;

    #[test]
    fn the_worst_error_is_about_a_label_that_is_missed_or_wrongly_given() {
        let metrics = MultiLabelMetrics::new(2, false).finish(&["a", "b"].map(str::to_owned)).unwrap();
        let row = |label: &str, probabilities: [f32; 2]| Prediction {
            file: String::new(),
            label: label.to_owned(),
            predicted: String::new(),
            probabilities: probabilities.into(),
        };
        assert_eq!(worst_error(&row("a", [0.75, 0.5]), &metrics), 0.5);
        assert_eq!(worst_error(&row("a", [0.25, 0.5]), &metrics), 0.75);
        assert_eq!(worst_error(&row("", [0.25, 0.5]), &metrics), 0.5);
    }
}
