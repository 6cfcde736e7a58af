//! What a page may tell besides the results of a run: when it ran, and what changed since the previous run. Both depend
//! on the clock or on other runs, so the page inside a run directory has neither.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::data::{ReportData, StageReport};
use super::html::plain;
use super::html_stage::key_result;
use super::text::duration;
use crate::digest::Difference;

/// When a run ran, and for how long. Times are text such as `2026-11-22T01:59:28.123Z`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTimes {
    /// The first start.
    pub started: String,
    /// The end of the last stage that was computed.
    pub finished: Option<String>,
    /// The time that its stages took, over all starts.
    pub seconds: f64,
    /// By stage; `None` if all of its results came from the store.
    pub stages: BTreeMap<String, Option<f64>>,
}

/// The differences from the previous run of the same name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunChanges {
    /// The id of the previous run; `None` for the first run of its name.
    pub previous: Option<String>,
    /// When the previous run started first.
    pub started: Option<String>,
    /// Settings, inputs and versions.
    pub causes: Vec<Difference>,
    /// What the overview of the previous run showed, by stage.
    pub results: BTreeMap<String, String>,
}

impl ReportData {
    /// The result of each stage in the overview.
    pub fn key_results(&self) -> BTreeMap<String, String> {
        self.stages.iter().map(|stage| (stage.name.clone(), key_result(stage))).collect()
    }
}

/// A time of an event for people: `2026-11-22 01:59 UTC`.
pub fn minute(time: &str) -> String {
    let minute: String = time.chars().take(16).collect();
    format!("{} UTC", minute.replace('T', " "))
}

/// The line below the name of the run.
pub(super) fn times(times: &RunTimes) -> Markup {
    html! {
        p.muted {
            "Started " (minute(&times.started))
            @if let Some(finished) = &times.finished { ", finished " (minute(finished)) }
            ", computed for " (duration(times.seconds)) "."
        }
    }
}

/// The time of a stage in the overview.
pub(super) fn stage_time(times: &RunTimes, stage: &str) -> String {
    match times.stages.get(stage) {
        None => String::new(),
        Some(None) => "cached".to_owned(),
        Some(Some(seconds)) => duration(*seconds),
    }
}

/// The card with the differences from the previous run.
pub(super) fn changes(changes: &RunChanges, stages: &[StageReport]) -> Markup {
    let shown = |value: &Option<Value>| value.as_ref().map(plain);
    let results: Vec<(&str, &str, String)> = stages
        .iter()
        .filter_map(|stage| {
            Some((&*stage.name, changes.results.get(&stage.name)?.as_str(), key_result(stage)))
        })
        .filter(|(_, before, now)| before != now)
        .collect();
    html! {
        section.card {
            div.row {
                h2 { "Changes since the previous run" }
                @if let Some(previous) = &changes.previous { code.muted { (previous) } }
                @if let Some(started) = &changes.started { span.muted { (minute(started)) } }
            }
            @if changes.previous.is_none() {
                p.muted { "This is the first run of its name." }
            } @else if changes.causes.is_empty() && results.is_empty() {
                p.muted { "Nothing." }
            }
            @if !changes.causes.is_empty() {
                div.scroll {
                    table {
                        tr { th { "setting" } th { "before" } th { "now" } }
                        @for change in &changes.causes {
                            tr {
                                td.name { code { (change.field) } }
                                td.name { @if let Some(old) = shown(&change.old) { del { (old) } } }
                                td.name { @if let Some(new) = shown(&change.new) { ins { (new) } } }
                            }
                        }
                    }
                }
            }
            @if !results.is_empty() {
                h3 { "Results" }
                div.scroll {
                    table {
                        tr { th { "stage" } th { "before" } th { "now" } }
                        @for (stage, before, now) in &results {
                            tr { td.name { (stage) } td.name { (before) } td.name { (now) } }
                        }
                    }
                }
            }
        }
    }
}
