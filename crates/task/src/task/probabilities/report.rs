//! The part of a report that shows probabilities: curves, the classes against the others, and thresholds.

use super::pictures;
pub use super::pictures::FILES;
use super::scores::{FittedScores, ProbabilityScores, RankingScores, SPECIFICITIES, ThresholdScores};
use crate::error::Result;
use crate::metrics::{Direction, Metric, MetricFormat};
use crate::report::{
    ColumnKind, ReportColumn, ReportPart, ReportTable, StageFiles, TableCell, Tile, count, percent,
    significant,
};
use crate::task::confidence_intervals::in_words;

pub const AUC: Metric = Metric::new("auc", "AUC", MetricFormat::Share, Direction::Higher);
pub const ECE: Metric =
    Metric::new("calibration.ece", "calibration error", MetricFormat::Share, Direction::Lower);

/// The scores of a run's `metrics.json`; `None` of a run that is older than they are.
///
/// # Errors
/// The file has another format.
pub fn of_document(files: &StageFiles) -> Result<Option<ProbabilityScores>> {
    let document: serde_json::Value = files.json("metrics.json")?;
    if document["one_vs_rest"].is_null() {
        return Ok(None);
    }
    files.json("metrics.json").map(Some)
}

/// Adds intervals to the tiles of scores, by the tile's name and the score's, and tiles of the area under ROC curves and
/// the calibration error.
pub fn complete_tiles(parts: &mut [ReportPart], scores: &ProbabilityScores, intervals: &[(&str, &str)]) {
    scores.intervals.complete(parts, intervals);
    let Some(ReportPart::Tiles(tiles)) = parts.first_mut() else { return };
    let loss = tiles.iter().position(|tile| tile.name == "loss").unwrap_or(tiles.len());
    let area = scores.auc.map(|auc| {
        let interval = in_words(&scores.intervals.scores, "auc").map(|interval| format!(" ({interval})"));
        Tile::new(percent(auc), format!("AUC{}", interval.unwrap_or_default()))
    });
    let error = Tile::new(percent(scores.calibration.ece), "calibration error");
    tiles.splice(loss..loss, area.into_iter().chain([error]));
}

/// # Errors
/// A table of the run has another format.
pub fn report_parts(files: &StageFiles, scores: &ProbabilityScores) -> Result<Vec<ReportPart>> {
    let mut parts = vec![scores.intervals.note()];
    parts.extend(scores.fitted.as_ref().map(|fitted| ReportPart::Paragraph(fitted_in_words(fitted, scores))));
    parts.extend(pictures::of_report(files, scores)?.into_iter().map(ReportPart::Picture));
    parts.push(ReportPart::Table(rankings(&scores.one_vs_rest)));
    let thresholds = scores.fitted.as_ref().and_then(|fitted| fitted.thresholds.as_ref());
    parts.extend(thresholds.map(|all| ReportPart::Table(thresholds_table(all))));
    Ok(parts)
}

/// What was fitted on validation images, in sentences.
fn fitted_in_words(fitted: &FittedScores, scores: &ProbabilityScores) -> String {
    let images = count(fitted.images as u64);
    let mut sentences = Vec::new();
    if let (Some(temperature), Some(after)) = (fitted.temperature, &fitted.calibration) {
        let before = &scores.calibration;
        let t = significant(temperature, 3);
        let tends = if temperature > 1.0 { "too sure" } else { "not sure enough" };
        sentences.push(format!(
            "With temperature {t}, fitted on {images} validation images, the calibration error changes from {} to {}. \
             Before, the model was {tends}.",
            percent(before.ece),
            percent(after.ece),
        ));
    }
    if let Some(thresholds) = &fitted.thresholds {
        sentences.push(format!("Thresholds are chosen on {images} validation images."));
        let never: Vec<&str> = thresholds
            .iter()
            .filter(|class| class.threshold.is_none())
            .map(|class| class.class.as_str())
            .collect();
        if !never.is_empty() {
            let names = never.join(", ");
            sentences.push(format!("No threshold keeps the rule for {names}, so it is never predicted."));
        }
    }
    sentences.join(" ")
}

fn rankings(classes: &[RankingScores]) -> ReportTable {
    let share = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), percent);
    let row = |class: &RankingScores| -> Vec<TableCell> {
        let mut cells = vec![
            class.class.as_str().into(),
            class.auc.map_or_else(|| "–".to_owned(), |auc| significant(auc, 3)).into(),
            share(class.auc.map(|_| class.average_precision)).into(),
        ];
        cells.extend(class.sensitivity_at.iter().map(|at| share(at.sensitivity).into()));
        cells
    };
    let mut columns = vec![
        ReportColumn::new("class", ColumnKind::Name),
        ReportColumn::new("AUC", ColumnKind::Number),
        ReportColumn::new("average precision", ColumnKind::Number),
    ];
    columns.extend(SPECIFICITIES.iter().map(|specificity| {
        let title = format!("sensitivity at specificity {specificity}");
        ReportColumn::new(title, ColumnKind::Number)
    }));
    ReportTable {
        title: "Each class against the others".to_owned(),
        columns,
        rows: classes.iter().map(row).collect(),
        always_open: false,
    }
}

fn thresholds_table(thresholds: &[ThresholdScores]) -> ReportTable {
    let row = |class: &ThresholdScores| -> Vec<TableCell> {
        let threshold = class.threshold.map_or_else(|| "never".to_owned(), |t| significant(t, 3));
        let counts = &class.evaluated.counts;
        let mut cells: Vec<TableCell> = vec![class.class.as_str().into(), threshold.into()];
        let scores = [
            class.evaluated.sensitivity,
            class.evaluated.specificity,
            class.evaluated.precision,
            class.evaluated.f1,
            class.validation.f1,
        ];
        cells.extend(scores.map(|score| TableCell::from(percent(score))));
        cells.extend([counts.false_positives, counts.false_negatives].map(|n| TableCell::from(count(n))));
        cells
    };
    let numbers = [
        "threshold",
        "sensitivity",
        "specificity",
        "precision",
        "F1",
        "F1 on validation",
        "false positives",
        "false negatives",
    ];
    let mut columns = vec![ReportColumn::new("class", ColumnKind::Name)];
    columns.extend(numbers.map(|heading| ReportColumn::new(heading, ColumnKind::Number)));
    ReportTable {
        title: "Thresholds".to_owned(),
        columns,
        rows: thresholds.iter().map(row).collect(),
        always_open: true,
    }
}
