//! The metrics of detection, and its report: scores, curves, the confusion matrix and the classes.

use serde::Deserialize;
use serde_json::Value;

use super::losses::DISTILLED;
use super::subsets::{self, ScoresBySubset};
use super::task::RECIPE_FIELD;
use super::words::in_words;
use super::{comparison, errors, pictures};
use crate::error::Result;
use crate::metrics::detection::{ClassDetectionScores, DetectionErrors, DetectionScores};
use crate::metrics::{Direction, Metric, MetricFormat, TaskMetrics};
use crate::report::{
    BoxClassScores, BoxScores, ReportPart, StageFiles, TaskReport, TaskReporting, box_scores_parts,
};
use crate::task::confidence_intervals::ConfidenceIntervals;

const fn share(name: &'static str, title: &'static str) -> Metric {
    Metric::new(name, title, MetricFormat::Share, Direction::Higher)
}

const fn loss(name: &'static str, title: &'static str) -> Metric {
    Metric::new(name, title, MetricFormat::Number, Direction::Lower)
}

const LOSS: Metric = loss("loss", "loss");
const BOX_LOSS: Metric = loss("box_loss", "box loss");
const CLASS_LOSS: Metric = loss("class_loss", "class loss");
const DFL_LOSS: Metric = loss("dfl_loss", "DFL loss");
/// Of a stage with a teacher. Validation has none.
const DISTILL_CLASS_LOSS: Metric = loss(DISTILLED[0], "distillation of classes");
const DISTILL_BOX_LOSS: Metric = loss(DISTILLED[1], "distillation of boxes");
/// COCO's primary score: the mean over IoU thresholds from 0.50 to 0.95.
const AP50_95: Metric =
    share("ap50_95", "AP50-95").drawn("Average precision", "mean over IoU 0.50 to 0.95, %");
const AP50: Metric = share("ap50", "AP50");
const AP75: Metric = share("ap75", "AP75");
/// Of objects below 32² pixels of the picture, up to 96², and above.
const AP_SMALL: Metric = share("ap_small", "AP small");
const AP_MEDIUM: Metric = share("ap_medium", "AP medium");
const AP_LARGE: Metric = share("ap_large", "AP large");
/// At the confidence with the highest mean F1, and IoU 0.5.
const PRECISION: Metric = share("precision", "precision");
const RECALL: Metric = share("recall", "recall");
const F1: Metric = share("f1", "F1");

pub static METRICS: TaskMetrics = TaskMetrics {
    history: &[
        LOSS.drawn("Loss", "mean per image").in_training().column(8),
        BOX_LOSS.in_training(),
        CLASS_LOSS.in_training(),
        DFL_LOSS.in_training(),
        DISTILL_CLASS_LOSS.in_training().optional(),
        DISTILL_BOX_LOSS.in_training().optional(),
        AP50_95.column(0),
        AP50.column(1),
        AP75,
        AP_SMALL.optional(),
        AP_MEDIUM.optional(),
        AP_LARGE.optional(),
        PRECISION,
        RECALL,
        F1,
    ],
    evaluation: &[
        AP50_95.column(2),
        AP50.column(3),
        AP75,
        AP_SMALL.column(4),
        AP_MEDIUM,
        AP_LARGE,
        PRECISION.column(5),
        RECALL.column(6),
        F1.column(7),
        LOSS.column(9),
    ],
    headline: &["ap50_95", "loss"],
};

pub static REPORTING: TaskReporting = TaskReporting {
    name: "detection",
    metrics: &METRICS,
    files: &[&pictures::FILES],
    is_of: |document: &Value| document["model"][RECIPE_FIELD] == true,
    report,
    compared: comparison::evaluation,
    compared_images: comparison::images,
};

/// What `metrics.json` has in addition to scores. Older versions wrote neither.
#[derive(Deserialize)]
struct Document {
    errors: Option<DetectionErrors>,
    intervals: Option<ConfidenceIntervals>,
    subsets: Option<ScoresBySubset>,
}

fn report(files: &StageFiles) -> Result<TaskReport> {
    let scores: DetectionScores = files.json("metrics.json")?;
    let classes: Vec<BoxClassScores> = scores.classes.iter().map(class).collect();
    let all = BoxClassScores {
        class: "all".to_owned(),
        images: scores.images,
        instances: scores.instances,
        scores: box_scores([scores.precision, scores.recall, scores.ap50, scores.ap50_95]),
    };
    let headline = [(&AP50_95, scores.ap50_95), (&AP50, scores.ap50)];
    let mut parts =
        box_scores_parts(&all, scores.best_confidence, pictures::of_stage(files, &scores)?, &classes);
    let Document { errors, intervals, subsets } = files.json("metrics.json")?;
    if let Some(intervals) = intervals.filter(|intervals| !intervals.scores.is_empty()) {
        intervals.complete(&mut parts, &[("AP50-95", "ap50_95"), ("AP50", "ap50")]);
        parts.insert(1, intervals.note());
    }
    parts.extend(subsets.map(|scores| ReportPart::Table(subsets::table(&scores))));
    if let Some(errors) = errors {
        // What the numbers say, right after the first of them.
        let place = parts.iter().position(|part| matches!(part, ReportPart::Table(_))).unwrap_or_default();
        parts.splice(place..place, in_words(&scores, &errors).map(ReportPart::Paragraph));
        parts.extend(errors::parts(files, &errors)?);
    }
    Ok(TaskReport {
        headline: headline.into_iter().filter_map(|(metric, score)| Some((metric, score?))).collect(),
        parts,
    })
}

fn class(class: &ClassDetectionScores) -> BoxClassScores {
    BoxClassScores {
        class: class.class.clone(),
        images: class.images,
        instances: class.instances,
        scores: box_scores([class.precision, class.recall, class.ap50, class.ap50_95]),
    }
}

fn box_scores([precision, recall, ap50, ap]: [Option<f64>; 4]) -> Option<BoxScores> {
    Some(BoxScores { precision: precision?, recall: recall?, ap50: ap50?, ap: ap? })
}
