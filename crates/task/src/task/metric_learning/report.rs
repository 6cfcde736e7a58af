//! The metrics of metric learning.

use serde_json::Value;

use super::task::RECIPE_FIELD;
use crate::error::Result;
use crate::metrics::{Direction, Metric, MetricFormat, TaskMetrics};
use crate::report::{ReportPart, StageFiles, TaskReport, TaskReporting, Tile, number, percent};

const LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower);
/// The fraction of images whose nearest other image is of their class: in training of a batch, in validation of the split.
const RANK1: Metric = Metric::new("rank1", "rank 1", MetricFormat::Percent, Direction::Higher);
/// The mean over the images of the average precision with which all others of their class are found.
const MAP: Metric = Metric::new("map", "mAP", MetricFormat::Share, Direction::Higher);

pub static METRICS: TaskMetrics = TaskMetrics {
    history: &[
        LOSS.drawn("Loss", "mean per image").in_training().column(8),
        RANK1.drawn("Rank 1", "images nearest to one of their class, %").in_training().column(0),
        MAP.drawn("mAP", "mean average precision").column(1),
    ],
    evaluation: &[],
    headline: &["rank1", "loss"],
};

pub static REPORTING: TaskReporting = TaskReporting {
    name: "metric_learning",
    metrics: &METRICS,
    files: &[&[]],
    is_of: |document: &Value| document["model"][RECIPE_FIELD] == true,
    report,
    compared: TaskReporting::NOTHING_COMPARED,
    compared_images: TaskReporting::NO_IMAGES_COMPARED,
};

/// Of an evaluation, which validation refuses: only the stage's numbers.
fn report(files: &StageFiles) -> Result<TaskReport> {
    let scores: Value = files.json("metrics.json")?;
    let tile = |metric: &Metric| {
        let value = scores[metric.name].as_f64()?;
        let text = if metric.format == MetricFormat::Number { number(value) } else { percent(value) };
        Some(Tile::new(text, metric.title))
    };
    let tiles = METRICS.history.iter().filter_map(tile).collect();
    Ok(TaskReport { headline: Vec::new(), parts: vec![ReportPart::Tiles(tiles)] })
}
