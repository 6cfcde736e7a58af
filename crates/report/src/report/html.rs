//! The one-page report: a whole run in one file, without network access, scripts or other files.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::best::best_stages;
use super::circumstances;
use super::data::{ReportData, StageReport};
use super::html_data;
use super::html_stage::{key_result, stage_card};
use super::regression::Regression;
use super::text::count;
use crate::sanitize;

/// Renders the report. Equal data gives equal bytes.
pub fn report_html(data: &ReportData) -> String {
    let declines = Regression::all(&data.stages);
    let content = html! {
        (header(data))
        (overview(data, &declines))
        @if let Some(changes) = &data.changes { (circumstances::changes(changes, &data.stages)) }
        @for (name, summary) in &data.data { (html_data::card(name, summary, data.samples.get(name))) }
        @for stage in &data.stages { (stage_card(stage, decline_of(stage, &declines), &data.files_at)) }
        (pipeline(data))
    };
    page(&format!("{} {}", data.name, data.id), &content)
}

/// A page in one file, with its styles. Control characters are escaped.
pub(super) fn page(title: &str, content: &Markup) -> String {
    document(title, &Markup::default(), &html! { main { (content) } })
}

/// A page with a script that replaces `main`, and shows the element `offline` while it cannot. Without scripts, the
/// browser loads the page again.
pub(super) fn live_page(title: &str, content: &Markup, script: &str) -> String {
    let head = html! {
        noscript { meta http-equiv="refresh" content="5"; }
        script src=(script) defer {}
    };
    let body = html! {
        main { (content) }
        p #offline.offline hidden { "No answer: this is the last known state." }
    };
    document(title, &head, &body)
}

fn document(title: &str, head: &Markup, body: &Markup) -> String {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content="defrost";
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
                (head)
            }
            body { (body) }
        }
    };
    sanitize::document(&text.into_string()).into_owned()
}

fn header(data: &ReportData) -> Markup {
    html! {
        header {
            div.row {
                h1 { (data.name) }
                code.muted { (data.id) }
                span class={ "tag " (data.state) } { (data.state) }
            }
            @if let Some(times) = &data.times { (circumstances::times(times)) }
        }
    }
}

fn decline_of<'a>(stage: &StageReport, declines: &'a [Regression]) -> Option<&'a Regression> {
    declines.iter().find(|decline| decline.stage == stage.name)
}

/// The overview of all stages, with a link to the card of each.
fn overview(data: &ReportData, declines: &[Regression]) -> Markup {
    let (stages, best) = (&data.stages, best_stages(&data.stages));
    html! {
        section.card {
            div.scroll {
                table.wide {
                    tr {
                        th { "stage" } th.extra { "kind" } th.extra { "from" }
                        th.number.extra { "trainable" } th.number.extra { "frozen" }
                        @if data.times.is_some() { th.number { "time" } }
                        th { "result" }
                    }
                    @for stage in stages {
                        tr {
                            td.name { a href={ "#" (anchor(&stage.name)) } { (stage.name) } }
                            td.extra { (stage.kind) }
                            td.extra { (stage.sources().join(", ")) }
                            @match &stage.training {
                                Some(training) => {
                                    td.number.extra { (count(training.parameters.trainable_parameters)) }
                                    td.number.extra { (count(training.parameters.frozen_parameters)) }
                                }
                                None => { td.extra {} td.extra {} }
                            }
                            @if let Some(times) = &data.times {
                                td.number { (circumstances::stage_time(times, &stage.name)) }
                            }
                            td.result {
                                (key_result(stage))
                                @if let Some(metric) = best.get(&*stage.name) {
                                    " " span.tag.complete { "best " (metric) }
                                }
                                @if let Some(decline) = decline_of(stage, declines) {
                                    " " span style="color: var(--bad)" { "(below " (decline.source) ")" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn pipeline(data: &ReportData) -> Markup {
    html! {
        section.card {
            h2 { "Pipeline" }
            details {
                summary { "Settings of this run, everything merged" }
                pre { (data.pipeline) }
            }
            (links(&data.files_at, &data.files))
        }
    }
}

/// Files in the run directory, which is at `folder` as seen from the page.
pub(super) fn links(folder: &str, files: &[String]) -> Markup {
    html! {
        @if !files.is_empty() {
            p.files {
                @for file in files {
                    a href={ (address(folder)) (address(file)) } { (file.rsplit('/').next().unwrap_or(file)) }
                }
            }
        }
    }
}

/// A setting's value for people: text without quotes, everything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The identifier of a stage's card.
pub(super) fn anchor(stage: &str) -> String {
    format!("stage-{}", address(stage))
}

/// A relative path as a URL reference: reserved characters are percent-encoded (RFC 3986, section 2.1).
pub(super) fn address(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::circumstances::{RunChanges, RunTimes};
    use super::super::confusion_matrix;
    use super::super::data::{BatchNormCounts, ParameterCounts, TrainingMetrics};
    use super::super::history::HistoryRow;
    use super::super::parts::{
        ColumnKind, ReportColumn, ReportPart, ReportTable, TableCell, TaskReport, Tile, mistakes,
    };
    use super::super::tables::Prediction;
    use super::super::text::{number, percent};
    use super::*;
    use crate::data::{Dataset, DatasetSummary, Label, Sample, Split};
    use crate::digest::{Difference, Digest};
    use crate::metrics::{
        ClassificationMetrics, ClassificationScores, Direction, Metric, MetricFormat, Scores, TaskMetrics,
    };
    use crate::pipeline;

    const LOSS: Metric = Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower).in_training();
    const ACCURACY: Metric =
        Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher).in_training();
    const MACRO_F1: Metric = Metric::new("macro_f1", "macro F1", MetricFormat::Share, Direction::Higher);
    static METRICS: TaskMetrics = TaskMetrics {
        history: &[LOSS.drawn("Loss", "mean"), ACCURACY.drawn("Accuracy", "%"), MACRO_F1],
        evaluation: &[ACCURACY, MACRO_F1],
        headline: &["accuracy"],
    };
    use serde_json::json;

    fn summary() -> DatasetSummary {
        let sample = |path: &str, class, split| Sample {
            path: path.into(),
            label: Label::Class(class),
            split,
            digest: Some(Digest::of(&path.as_bytes()[..1])),
        };
        let dataset = Dataset {
            root: "unused".into(),
            classes: vec!["<green>".into(), "\"logger\"".into()],
            samples: vec![
                sample("1_a.png", 0, Split::Train),
                sample("1_b.png", 1, Split::Test),
                sample("2_a.png", 0, Split::Train),
            ],
            ..Dataset::default()
        };
        let split = pipeline::Split { test: 0.2, group: Some(r"^(\d)".into()), ..Default::default() };
        (*DatasetSummary::of(&dataset, &split)).clone()
    }

    fn scores(values: &[(&str, f64)]) -> Scores {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    /// The report parts that a task builds from a confusion matrix and its predictions.
    fn parts(metrics: &ClassificationScores, predictions: &[Prediction]) -> TaskReport {
        let class = |class: &crate::metrics::ClassMetrics| -> Vec<TableCell> {
            let rates = [class.precision, class.recall, class.f1].map(|rate| percent(rate).into());
            let mut cells = vec![class.class.as_str().into()];
            cells.extend(rates);
            cells.extend([TableCell::Share(class.f1), count(class.support).into()]);
            cells
        };
        let columns = [
            ("class", ColumnKind::Name),
            ("precision", ColumnKind::Number),
            ("recall", ColumnKind::Number),
            ("F1", ColumnKind::Number),
            ("", ColumnKind::Bar),
            ("images", ColumnKind::Number),
        ];
        let tiles = [
            Tile::new(percent(metrics.accuracy), "accuracy"),
            Tile::new(percent(metrics.macro_f1), "macro F1"),
            Tile::new(number(metrics.loss), "loss"),
            Tile::new(count(metrics.samples), "images"),
        ];
        let table = ReportTable {
            title: "Classes".into(),
            columns: columns.map(|(heading, kind)| ReportColumn::new(heading, kind)).into(),
            rows: metrics.per_class.iter().map(class).collect(),
            always_open: false,
        };
        let picture = confusion_matrix("test", metrics);
        let mut parts =
            vec![ReportPart::Tiles(tiles.into()), ReportPart::Picture(picture), ReportPart::Table(table)];
        parts.extend(mistakes(predictions, ["true class", "probability"], |row| row.probabilities[0]));
        TaskReport { headline: vec![(&ACCURACY, metrics.accuracy), (&MACRO_F1, metrics.macro_f1)], parts }
    }

    /// A run with everything that a page can show. Its names contain characters that could break markup.
    fn run() -> ReportData {
        let epoch = HistoryRow {
            epoch: 1,
            lr: 1e-3,
            train: scores(&[("loss", 0.5), ("accuracy", 0.75)]),
            validation: Some(scores(&[("loss", 0.25), ("accuracy", 1.0), ("macro_f1", 1.0)])),
            is_best: true,
            trainable_parameters: None,
            skipped_steps: None,
        };
        let parameters = ParameterCounts {
            trainable_tensors: 2,
            frozen_tensors: 159,
            trainable_parameters: 4_098,
            frozen_parameters: 23_508_032,
            batch_norm: BatchNormCounts { total: 53, train: 0, eval: 53 },
            phases: Vec::new(),
        };
        let train = StageReport {
            name: "frozen".into(),
            kind: "train".into(),
            settings: json!({"kind": "train", "from": "pretrained", "optimizer": {"kind": "sgd", "lr": 1e-3}}),
            metrics: &METRICS,
            training: Some(TrainingMetrics { best: Some(epoch.clone()), last: epoch.clone(), parameters }),
            history: vec![epoch],
            files: vec!["stages/frozen/history.csv".into()],
            ..StageReport::default()
        };
        let mut metrics = ClassificationMetrics::new(2);
        metrics.update(&[0.9, 0.1, 0.8, 0.2], &[0, 1], &[0.1, 1.6]).unwrap();
        let prediction = |file: &str, label: &str, probabilities: [f32; 2]| Prediction {
            file: file.into(),
            label: label.into(),
            predicted: "<green>".into(),
            probabilities: probabilities.into(),
        };
        let metrics = metrics.finish(&["<green>".into(), "\"logger\"".into()]).unwrap();
        let predictions =
            [prediction("a/<1>.png", "<green>", [0.9, 0.1]), prediction("b/2.png", "\"logger\"", [0.8, 0.2])];
        let evaluate = StageReport {
            name: "test & more".into(),
            kind: "evaluate".into(),
            settings: json!({"kind": "evaluate", "from": "frozen@best", "split": "test"}),
            evaluation: Some(parts(&metrics, &predictions)),
            files: vec!["stages/test & more/metrics.json".into()],
            ..StageReport::default()
        };
        let change = Difference {
            field: "stage.frozen.optimizer.lr".into(),
            old: Some(json!(1e-4)),
            new: Some(json!(1e-3)),
        };
        ReportData {
            name: "turtles <b>".into(),
            id: "3f9c1a2b".into(),
            state: "complete".into(),
            pipeline: "name = \"turtles <b>\"\n".into(),
            data: std::iter::once(("photos".to_owned(), summary())).collect(),
            stages: vec![train, evaluate],
            changes: Some(RunChanges {
                previous: Some("0a1b2c3d".into()),
                started: Some("2026-11-21T23:00:00.000Z".into()),
                causes: vec![change],
                results: [("frozen".to_owned(), "validation accuracy 50.0 %".to_owned())].into(),
            }),
            files: vec!["resolved.toml".into()],
            times: Some(RunTimes {
                started: "2026-11-22T01:59:28.123Z".into(),
                finished: Some("2026-11-22T02:03:00.000Z".into()),
                seconds: 187.0,
                stages: [("frozen".to_owned(), Some(187.0)), ("test & more".to_owned(), None)].into(),
            }),
            ..ReportData::default()
        }
    }

    #[test]
    fn the_page_shows_the_run() {
        // The style sheet and the figures have their own tests, so this snapshot has only the text.
        let page = report_html(&run());
        let (head, body) = page.split_once("</style>").unwrap();
        assert!(head.starts_with("<!DOCTYPE html>") && body.ends_with("</html>"));
        let without_pictures = regex::Regex::new("(?s)<svg.*?</svg>").unwrap().replace_all(body, "PICTURE");
        assert_eq!(without_pictures.matches("PICTURE").count(), 2);
        insta::assert_snapshot!(without_pictures.replace("<section", "\n<section").replace("<tr", "\n<tr"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = report_html(&run());
        for external in ["http", "src=", "url(", "@import", "<script", "<link", "//"] {
            assert!(!page.contains(external), "`{external}` in the page");
        }
        for unescaped in ["<b>\"", "<green>", "a/<1>"] {
            assert!(!page.contains(unescaped), "`{unescaped}` in the page");
        }
    }

    #[test]
    fn links_lead_to_the_run_from_wherever_the_page_is() {
        let page = report_html(&ReportData { files_at: "../my runs/turtles/".into(), ..run() });
        for file in ["resolved.toml", "stages/frozen/history.csv", "stages/test%20%26%20more/metrics.json"] {
            assert!(page.contains(&format!("href=\"../my%20runs/turtles/{file}\"")), "{file}");
        }
    }

    #[test]
    fn a_run_that_has_only_begun_has_a_page() {
        let begun = StageReport { name: "frozen".into(), ..StageReport::default() };
        let page = report_html(&ReportData { stages: vec![begun], ..ReportData::default() });
        assert!(page.contains("id=\"stage-frozen\"") && !page.contains("<svg"));
    }
}
