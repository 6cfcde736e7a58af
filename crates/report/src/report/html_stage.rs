//! One stage on the report's page: what it was told, what it did, and how well.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::data::{ParameterCounts, StageReport};
use super::decline::Decline;
use super::html::{anchor, links, plain};
use super::tables::HistoryRow;
use super::text::{count, joining, number, percent, significant};
use super::{confusion_matrix, curves, html_labels, html_recognition};
use crate::metrics::Classification;
use crate::visible;

/// Tables with more rows than this are folded.
pub(super) const OPEN_ROWS: usize = 25;
/// How many mistakes are shown.
const MISTAKES: usize = 12;

pub(super) fn stage_card(stage: &StageReport, decline: Option<&Decline>) -> Markup {
    html! {
        section.card id=(anchor(&stage.name)) {
            div.row {
                h2 { (stage.name) }
                span.tag { (stage.kind) }
                @if !stage.sources().is_empty() { span.muted { "from " (stage.sources().join(", ")) } }
            }
            @if let Some(decline) = decline { (declined(decline)) }
            @if let Some(training) = &stage.training {
                (epoch_tiles(training.best.as_ref().unwrap_or(&training.last), training.last.epoch))
                (parameters(&training.parameters))
            }
            @if let Some(metrics) = &stage.metrics { (metric_tiles(metrics)) }
            @if let Some(labels) = &stage.labels { (html_labels::tiles(labels)) (html_labels::table(labels)) }
            @if let Some(recognition) = &stage.recognition { (html_recognition::card(&stage.name, recognition)) }
            @if !stage.history.is_empty() {
                div.picture { (PreEscaped(curves(&stage.name, &stage.history).inline())) }
                (history(&stage.history))
            }
            @if let Some(metrics) = &stage.metrics {
                div.picture { (PreEscaped(confusion_matrix(&stage.name, metrics).inline())) }
                (classes(metrics))
            }
            (mistakes(stage))
            (settings(&stage.settings))
            (links(&stage.files))
        }
    }
}

/// That the stage ends below its source, and why that may be.
fn declined(decline: &Decline) -> Markup {
    html! {
        p { b style="color: var(--bad)" { "Ends " (decline.headline().replace('`', "")) "." } }
        @if !decline.causes.is_empty() {
            ul { @for cause in &decline.causes { li { (cause.replace('`', "")) } } }
        }
    }
}

/// The one result that the overview shows of a stage.
pub(super) fn key_result(stage: &StageReport) -> String {
    if let Some(metrics) = &stage.metrics {
        return format!("accuracy {}, macro F1 {}", percent(metrics.accuracy), percent(metrics.macro_f1));
    }
    if let Some(labels) = &stage.labels {
        return html_labels::key_result(labels);
    }
    if let Some(recognition) = &stage.recognition {
        return html_recognition::key_result(recognition);
    }
    let Some(training) = &stage.training else { return String::new() };
    let best = training.best.as_ref();
    if let Some((epoch, map)) = best.and_then(|best| Some((best.epoch, best.validation_map?))) {
        return format!("validation mAP {} at epoch {epoch}", percent(map));
    }
    match best.and_then(|best| Some((best.epoch, best.validation_accuracy?))) {
        Some((epoch, accuracy)) => format!("validation accuracy {} at epoch {epoch}", percent(accuracy)),
        None => format!("training accuracy {}", percent(training.last.train_accuracy)),
    }
}

pub(super) fn tile(value: &str, name: &str) -> Markup {
    html! { div.tile { b { (value) } span { (name) } } }
}

fn epoch_tiles(row: &HistoryRow, epochs: u32) -> Markup {
    html! {
        div.tiles {
            @if let Some(accuracy) = row.validation_accuracy { (tile(&percent(accuracy), "validation accuracy")) }
            @if let Some(map) = row.validation_map { (tile(&percent(map), "validation mAP")) }
            @if let Some(f1) = row.validation_macro_f1 { (tile(&percent(f1), "validation macro F1")) }
            @if let Some(loss) = row.validation_loss { (tile(&number(loss), "validation loss")) }
            (tile(&percent(row.train_accuracy), "training accuracy"))
            (tile(&number(row.train_loss), "training loss"))
            (tile(&format!("{} of {epochs}", row.epoch), if row.is_best { "best epoch" } else { "epoch" }))
        }
    }
}

fn metric_tiles(metrics: &Classification) -> Markup {
    html! {
        div.tiles {
            (tile(&percent(metrics.accuracy), "accuracy"))
            @if let Some(top5) = metrics.top5_accuracy { (tile(&percent(top5), "top-5 accuracy")) }
            (tile(&percent(metrics.macro_f1), "macro F1"))
            (tile(&number(metrics.loss), "loss"))
            (tile(&count(metrics.samples), "images"))
        }
    }
}

/// How much trained, and what batch normalisation did meanwhile.
fn parameters(counts: &ParameterCounts) -> Markup {
    let all = (counts.trainable_parameters + counts.frozen_parameters).max(1);
    let share = counts.trainable_parameters as f64 / all as f64 * 100.0;
    let norms = &counts.batch_norm;
    html! {
        h3 { "Parameters" }
        div.meter { i style=(format!("width:{share:.2}%")) {} }
        p {
            b { (count(counts.trainable_parameters)) } " trainable in " (counts.trainable_tensors) " tensors ("
            (significant(share, 3)) "\u{a0}%), "
            b { (count(counts.frozen_parameters)) } " frozen in " (counts.frozen_tensors) " tensors"
        }
        @if !counts.phases.is_empty() {
            ul { @for joined in &counts.phases { li { (joining(joined)) } } }
        }
        @if norms.total > 0 {
            p.muted {
                "BatchNorm: " (norms.train) " of " (norms.total) " layers in training mode, "
                (norms.eval) " with their running statistics"
            }
        }
    }
}

/// A loss with as many decimals as the others of its column.
fn loss(value: f64) -> String {
    format!("{value:.4}")
}

fn history(rows: &[HistoryRow]) -> Markup {
    let best = rows.iter().rev().find(|row| row.is_best).map(|row| row.epoch);
    let labels = rows.iter().any(|row| row.validation_map.is_some());
    let measured = |value: Option<f64>, show: fn(f64) -> String| value.map(show).unwrap_or_default();
    html! {
        details open[rows.len() <= OPEN_ROWS] {
            summary { "Epochs" }
            div.scroll {
                table.wide {
                    tr {
                        th.number { "epoch" } th.number { "learning rate" }
                        th.number { "training loss" } th.number { "training accuracy" }
                        th.number { "validation loss" } th.number { "validation accuracy" }
                        th.number { "validation macro F1" }
                        @if labels { th.number { "validation mAP" } }
                    }
                    @for row in rows {
                        tr.best[Some(row.epoch) == best] {
                            td.number { (row.epoch) }
                            td.number { (number(row.lr)) }
                            td.number { (loss(row.train_loss)) }
                            td.number { (percent(row.train_accuracy)) }
                            td.number { (measured(row.validation_loss, loss)) }
                            td.number { (measured(row.validation_accuracy, percent)) }
                            td.number { (measured(row.validation_macro_f1, percent)) }
                            @if labels { td.number { (measured(row.validation_map, percent)) } }
                        }
                    }
                }
            }
        }
    }
}

fn classes(metrics: &Classification) -> Markup {
    html! {
        details open[metrics.per_class.len() <= OPEN_ROWS] {
            summary { "Classes" }
            div.scroll {
                table.wide {
                    tr {
                        th { "class" } th.number { "precision" } th.number { "recall" } th.number { "F1" } th {}
                        th.number { "images" }
                    }
                    @for class in &metrics.per_class {
                        tr {
                            td.name { (visible::line(&class.class)) }
                            td.number { (percent(class.precision)) }
                            td.number { (percent(class.recall)) }
                            td.number { (percent(class.f1)) }
                            td { span.spark { i style=(format!("width:{:.1}%", class.f1 * 100.0)) {} } }
                            td.number { (count(class.support)) }
                        }
                    }
                }
            }
        }
    }
}

/// The mistakes a model was surest of: where labels are wrong or pictures ambiguous, they are here.
fn mistakes(stage: &StageReport) -> Markup {
    let mistakes = stage.mistakes();
    let summary = match mistakes.len() {
        0..=MISTAKES => "Mistakes, the surest first".to_owned(),
        more => format!("The {MISTAKES} surest of {} mistakes", count(more as u64)),
    };
    let (truth, probability) = match stage.labels {
        None => ("true class", "probability"),
        Some(_) => ("true labels", "of the surest error"),
    };
    html! {
        @if !mistakes.is_empty() {
            details open {
                summary { (summary) }
                div.scroll {
                    table.wide {
                        tr { th { "file" } th { (truth) } th { "predicted" } th.number { (probability) } }
                        @for (row, sureness) in mistakes.into_iter().take(MISTAKES) {
                            tr {
                                td.name { code { (visible::line(&row.file)) } }
                                td { (visible::line(&row.label)) }
                                td { (visible::line(&row.predicted)) }
                                td.number { (percent(f64::from(sureness))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn settings(settings: &Value) -> Markup {
    let mut rows = Vec::new();
    flatten("", settings, &mut rows);
    rows.retain(|(path, _)| !["kind", "from", "ensemble"].contains(&path.as_str()));
    html! {
        @if !rows.is_empty() {
            details {
                summary { "Settings" }
                div.scroll {
                    table {
                        @for (path, value) in rows { tr { td { code { (path) } } td.name { (value) } } }
                    }
                }
            }
        }
    }
}

/// Every setting by its dotted path; lists are one value.
fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, rows);
            }
        }
        Value::Null => {}
        value => rows.push((path.to_owned(), plain(value))),
    }
}
