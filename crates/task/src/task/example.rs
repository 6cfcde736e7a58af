//! A worked example: the results of an object detection task. It declares only its metrics and its report; tables,
//! curves and the page follow from these.

use serde_json::{Value, json};

use crate::error::Result;
use crate::metrics::{Direction, Metric, MetricFormat, Scores, TaskMetrics};
use crate::report::{
    BatchNormCounts, BoxClassScores, BoxScores, ColumnKind, HistoryRow, ParameterCounts, ReportColumn,
    ReportData, ReportPart, ReportTable, StageFiles, TaskOf, TaskReport, TaskReporting, TrainingMetrics,
    box_scores_parts, curves, history_csv, report_html,
};

const LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower);
const MAP50: Metric = Metric::new("map50", "mAP50", MetricFormat::Share, Direction::Higher)
    .drawn("Mean average precision", "at an overlap of 0.5, %");

static METRICS: TaskMetrics = TaskMetrics {
    history: &[LOSS.drawn("Loss", "mean per image").in_training().column(8), MAP50.column(0)],
    evaluation: &[MAP50.column(1), LOSS.column(9)],
    headline: &["map50"],
};

static REPORTING: TaskReporting = TaskReporting {
    name: "detection",
    metrics: &METRICS,
    files: &[&["detections.csv"]],
    is_of: |document| document["model"]["boxes"] == true,
    report,
    compared: TaskReporting::NOTHING_COMPARED,
    compared_images: TaskReporting::NO_IMAGES_COMPARED,
};

fn report(files: &StageFiles) -> Result<TaskReport> {
    let metrics: Value = files.json("metrics.json")?;
    let number = |name: &str| metrics[name].as_f64().unwrap_or_default();
    let [precision, recall, ap50, ap] = ["precision", "recall", "map50", "map"].map(number);
    let scores = Some(BoxScores { precision, recall, ap50, ap });
    let class =
        |class: &str, scores| BoxClassScores { class: class.to_owned(), images: 1, instances: 2, scores };
    let classes = [class("boat", scores), class("buoy", None)];
    let rows = files
        .table("detections.csv", |text| Ok(text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()))?;
    let table = ReportTable {
        title: "Found".to_owned(),
        columns: vec![ReportColumn::new("file", ColumnKind::File)],
        rows: rows.into_iter().map(|file| vec![file.into()]).collect(),
        always_open: true,
    };
    let mut parts = box_scores_parts(&class("all", scores), None, Vec::new(), &classes);
    parts.push(ReportPart::Table(table));
    Ok(TaskReport { headline: vec![(&MAP50, ap50)], parts })
}

fn scores(values: &[(&str, f64)]) -> Scores {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn history() -> Vec<HistoryRow> {
    let row = |epoch: u32, map50: f64| HistoryRow {
        epoch,
        lr: 0.1,
        train: scores(&[("loss", 1.0 / f64::from(epoch))]),
        validation: Some(scores(&[("loss", 1.5 / f64::from(epoch)), ("map50", map50)])),
        is_best: true,
        trainable_parameters: None,
        skipped_steps: None,
    };
    vec![row(1, 0.25), row(2, 0.5)]
}

#[test]
fn its_metrics_are_columns_of_the_history_and_curves() {
    let csv = history_csv(&history(), METRICS.history);
    assert!(csv.starts_with("epoch,lr,train_loss,validation_loss,validation_map50,is_best\n"), "{csv}");
    let picture = curves("fit", &history(), &METRICS).document();
    assert!(picture.contains("fit: loss and mAP50 by epoch"), "{picture}");
    assert!(picture.contains("at an overlap of 0.5, %") && picture.contains("50.0\u{a0}%"), "{picture}");
    let summary = METRICS.summary(&scores(&[("best.validation_map50", 0.5)])).unwrap();
    assert_eq!((summary.title.as_str(), summary.value), ("validation mAP50", 0.5));
}

#[test]
fn its_stages_have_sections_of_the_page() {
    let run = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = run.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let document = json!({ "model": { "boxes": true } });
    let stage = |name: &str, kind: &str| json!({ "name": name, "kind": kind, "document": document });
    write("plan.json", &json!({ "stages": [stage("fit", "train"), stage("test", "evaluate")] }).to_string());
    write("resolved.toml", "name = \"boats\"\n");
    let training = TrainingMetrics {
        best: history().pop(),
        last: history().pop().unwrap(),
        parameters: ParameterCounts {
            trainable_tensors: 1,
            frozen_tensors: 0,
            trainable_parameters: 10,
            frozen_parameters: 0,
            batch_norm: BatchNormCounts { total: 0, train: 0, eval: 0 },
            phases: Vec::new(),
        },
    };
    write("stages/fit/history.csv", &history_csv(&history(), METRICS.history));
    write("stages/fit/metrics.json", &training.document(&METRICS).to_string());
    write(
        "stages/test/metrics.json",
        r#"{"map50": 0.75, "map": 0.5, "precision": 0.8, "recall": 0.7, "loss": 0.5}"#,
    );
    write("stages/test/detections.csv", "file\nharbour/1.jpg\n");
    let task_of: TaskOf = |_, document| (REPORTING.is_of)(document).then_some(&REPORTING);
    let data = ReportData::read(run.path(), task_of).unwrap();
    assert_eq!(data.stage("fit").unwrap().training, Some(training));
    let page = report_html(&data);
    for shown in [
        "validation mAP50 50.0\u{a0}% at epoch 2",
        "<span>validation mAP50</span>",
        "<td class=\"result\">mAP50 75.0\u{a0}%",
        "<b>50.0\u{a0}%</b><span>AP50-95</span>",
        "no ground truth",
        "<code>harbour/1.jpg</code>",
        "stages/test/detections.csv",
    ] {
        assert!(page.contains(shown), "`{shown}` in {page}");
    }
}
