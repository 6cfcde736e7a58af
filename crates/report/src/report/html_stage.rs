//! One stage on the report's page: its settings, its actions and its results. Metrics come from the list of its task,
//! and the result of an evaluation from the task's report parts.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::curves;
use super::data::{ParameterCounts, StageReport};
use super::history::{HistoryRow, measured};
use super::html::{anchor, links, plain};
use super::html_parts::{self, OPEN_ROWS, tiles};
use super::parts::Tile;
use super::regression::Regression;
use super::text::{column_text, count, number, significant, unfreeze_summary, value_text};
use crate::metrics::{Metric, TaskMetrics};

pub(super) fn stage_card(stage: &StageReport, decline: Option<&Regression>, files_at: &str) -> Markup {
    html! {
        section.card id=(anchor(&stage.name)) {
            div.row {
                h2 { (stage.name) }
                span.tag { (stage.kind) }
                @if !stage.sources().is_empty() { span.muted { "from " (stage.sources().join(", ")) } }
            }
            @if let Some(decline) = decline { (declined(decline)) }
            @if let Some(training) = &stage.training {
                @let shown = training.best.as_ref().unwrap_or(&training.last);
                (tiles(&epoch_tiles(shown, training.last.epoch, stage.metrics)))
                (parameters(&training.parameters))
            }
            @if !stage.history.is_empty() {
                div.picture { (PreEscaped(curves(&stage.name, &stage.history, stage.metrics).inline())) }
                (history(&stage.history, stage.metrics.history))
            }
            @if let Some(evaluation) = &stage.evaluation { (html_parts::parts(evaluation)) }
            (settings(&stage.settings))
            (links(files_at, &stage.files))
        }
    }
}

/// Reports that the stage is worse than its source, with the likely causes.
fn declined(decline: &Regression) -> Markup {
    html! {
        p { b style="color: var(--bad)" { "Ends " (decline.headline().replace('`', "")) "." } }
        @if !decline.causes.is_empty() {
            ul { @for cause in &decline.causes { li { (cause.replace('`', "")) } } }
        }
    }
}

/// The one result of a stage in the overview.
pub(super) fn key_result(stage: &StageReport) -> String {
    if let Some(evaluation) = &stage.evaluation {
        return html_parts::headline(evaluation);
    }
    let Some(training) = &stage.training else { return String::new() };
    let best = training.best.as_ref().and_then(|best| Some((best.epoch, best.validation.as_ref()?)));
    if let Some((epoch, validation)) = best
        && let Some((metric, value)) = stage.metrics.first(validation)
    {
        return format!("validation {} {} at epoch {epoch}", metric.title, value_text(metric.format, value));
    }
    let last = stage.metrics.first(&training.last.train);
    last.map(|(metric, value)| format!("training {} {}", metric.title, value_text(metric.format, value)))
        .unwrap_or_default()
}

fn epoch_tiles(row: &HistoryRow, epochs: u32, metrics: &TaskMetrics) -> Vec<Tile> {
    let tile = |part: &str, metric: &Metric, value: f64| {
        Tile::new(value_text(metric.format, value), format!("{part} {}", metric.title))
    };
    let all = metrics.by_prominence();
    let validation =
        all.iter().filter_map(|metric| Some(tile("validation", metric, row.validated(metric.name)?)));
    let training = all.iter().filter(|metric| metric.in_training);
    let training = training.filter_map(|metric| Some(tile("training", metric, *row.train.get(metric.name)?)));
    let epoch =
        Tile::new(format!("{} of {epochs}", row.epoch), if row.is_best { "best epoch" } else { "epoch" });
    validation.chain(training).chain([epoch]).collect()
}

/// The number of trained parameters, and the statistics that batch normalisation used.
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
            ul { @for joined in &counts.phases { li { (unfreeze_summary(joined)) } } }
        }
        @if norms.total > 0 {
            p.muted {
                "BatchNorm: " (norms.train) " of " (norms.total) " layers in training mode, "
                (norms.eval) " with their running statistics"
            }
        }
    }
}

fn history(rows: &[HistoryRow], metrics: &[Metric]) -> Markup {
    let best = rows.iter().rev().find(|row| row.is_best).map(|row| row.epoch);
    let [train, validation] = measured(rows, metrics);
    let text = |metric: &Metric, value: Option<f64>| {
        value.map(|value| column_text(metric.format, value)).unwrap_or_default()
    };
    html! {
        details open[rows.len() <= OPEN_ROWS] {
            summary { "Epochs" }
            div.scroll {
                table.wide {
                    thead {
                        tr {
                            th.number { "epoch" } th.number { "learning rate" }
                            @for metric in &train { th.number { "training " (metric.title) } }
                            @for metric in &validation { th.number { "validation " (metric.title) } }
                        }
                    }
                    @for row in rows {
                        tr.best[Some(row.epoch) == best] {
                            td.number { (row.epoch) }
                            td.number { (number(row.lr)) }
                            @for metric in &train {
                                td.number { (text(metric, row.train.get(metric.name).copied())) }
                            }
                            @for metric in &validation {
                                td.number { (text(metric, row.validated(metric.name))) }
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
            details.settings {
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
