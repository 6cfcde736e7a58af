//! The metrics of contrastive learning. They describe the projections, not what the backbone is worth: that is measured by
//! a stage that learns from annotations.

use serde_json::Value;

use super::task::RECIPE_FIELD;
use crate::error::Result;
use crate::metrics::{Direction, Metric, MetricFormat, TaskMetrics};
use crate::report::{ReportPart, StageFiles, TaskReport, TaskReporting, Tile, number};

const LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower);
/// The share of views whose nearest view in the batch is of the same image.
const ACCURACY: Metric =
    Metric::new("contrastive_accuracy", "contrastive accuracy", MetricFormat::Percent, Direction::Higher)
        .drawn("Contrastive accuracy", "views nearest to the other view of their image, %");
/// The mean squared distance between the two views of an image.
const ALIGNMENT: Metric = Metric::new("alignment", "alignment", MetricFormat::Number, Direction::Lower);
/// The logarithm of the mean of e^(−2d²) over all pairs of views in a batch, at distance d. It is 0 if all are equal.
const UNIFORMITY: Metric = Metric::new("uniformity", "uniformity", MetricFormat::Number, Direction::Lower);

pub static METRICS: TaskMetrics = TaskMetrics {
    history: &[
        LOSS.drawn("Loss", "mean per view").in_training().column(8),
        ACCURACY.in_training().column(0),
        ALIGNMENT.in_training(),
        UNIFORMITY.in_training(),
    ],
    evaluation: &[],
    headline: &["contrastive_accuracy", "loss"],
};

pub static REPORTING: TaskReporting = TaskReporting {
    name: "contrastive",
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
    let tile = |metric: &Metric| Some(Tile::new(number(scores[metric.name].as_f64()?), metric.title));
    let tiles = METRICS.history.iter().filter_map(tile).collect();
    Ok(TaskReport { headline: Vec::new(), parts: vec![ReportPart::Tiles(tiles)] })
}
