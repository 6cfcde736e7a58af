//! The page of a search, in one file without network access or scripts.

use maud::{Markup, PreEscaped, html};

use super::data::{SampleEnd, SampleReport, SearchReport, SearchState};
use super::groups::{searched_groups, value_text};
use super::picture::search_svg;
use crate::report::html::page;
use crate::report::text::percent;

/// Further samples are in `search.csv`.
const MOST_ROWS: usize = 200;

/// Renders the page. Equal data gives equal bytes.
pub fn search_html(search: &SearchReport) -> String {
    let figure = search_svg(search);
    let content = html! {
        header { div.row { h1 { (search.name) } span.muted { "search over " (search.settings.len()) " settings" } } }
        section.card {
            h2 { "Rungs" }
            (rungs(search))
            p.muted {
                "Samples are ranked by " (search.metric) " of `" (search.stage) "`, where "
                (if search.lower_is_better { "lower" } else { "higher" })
                " is better. Samples with equal values are ranked by number."
                @if search.state != SearchState::Complete { " The search is not finished." }
            }
        }
        @if let Some(best) = search.samples.iter().find(|sample| sample.end == SampleEnd::Best) {
            section.card { h2 { "Best settings" } (settings(search, best)) }
        }
        @if let Some(figure) = figure {
            section.card {
                h2 { "The metric against each setting" }
                div.picture { (PreEscaped(figure.inline())) }
                (groups(search))
            }
        }
        section.card { h2 { "Samples" } (samples(search)) }
    };
    page(&format!("{}: search", search.name), &content)
}

fn rungs(search: &SearchReport) -> Markup {
    html! {
        div.scroll { table {
            tr { th { "rung" } th.number { "epochs" } th.number { "samples" } th.number { "finished" } th.number { "failed" } th.number { "go on" } }
            @for (index, rung) in search.rungs.iter().enumerate() {
                tr {
                    td { (index + 1) }
                    td.number { (rung.epochs.map_or_else(|| "drawn".to_owned(), |epochs| epochs.to_string())) }
                    td.number { (rung.samples) }
                    td.number { (rung.finished) }
                    td.number { (rung.failed) }
                    td.number { (rung.goes_on) }
                }
            }
        } }
    }
}

fn settings(search: &SearchReport, best: &SampleReport) -> Markup {
    html! {
        table {
            @for (setting, value) in search.settings.iter().zip(&best.values) {
                tr { td { code { (setting.path) } } td.number { (value_text(value)) } }
            }
            @if let Some(metric) = best.metric() { tr { td { (search.metric) } td.number { (format!("{metric:.4}")) } } }
        }
        @if let Some(run) = &best.run { p.muted { "The whole file with these settings is the run " code { (run) } "." } }
    }
}

fn groups(search: &SearchReport) -> Markup {
    let groups = searched_groups(search);
    html! {
        div.scroll { table {
            tr { th { "setting" } th { "values" } th.number { "samples" } th.number { "mean" } th.number { "best" } th.number { "explains" } }
            @for (index, group) in groups.iter().enumerate() {
                @let is_first = index == 0 || groups[index - 1].setting != group.setting;
                tr {
                    td { @if is_first { (group.setting) } }
                    td { (group.values) }
                    td.number { (group.samples) }
                    td.number { (format!("{:.4}", group.mean)) }
                    td.number { (format!("{:.4}", group.best)) }
                    td.number { @if is_first { (percent(group.importance)) } }
                }
            }
        } }
        p.muted {
            "Samples after the first rung, in groups of near values. “Explains” is the share of the metric's variance between the \
             groups of a setting. With few samples it is large by chance, and settings that act only together have a small one."
        }
    }
}

fn samples(search: &SearchReport) -> Markup {
    html! {
        div.scroll { table.wide {
            tr {
                th.number { "sample" }
                @for setting in &search.settings { th.number { (setting.name) } }
                th.number { "rung" } th.number { (search.metric) } th { "end" } th {}
            }
            @for sample in search.samples.iter().take(MOST_ROWS) {
                tr {
                    td.number { (sample.sample) }
                    @for value in &sample.values { td.number { (value_text(value)) } }
                    td.number { (sample.rung) }
                    td.number { (sample.metric().map_or_else(String::new, |metric| format!("{metric:.4}"))) }
                    td { (sample.end.as_str()) }
                    td.muted { (search.reason(sample)) }
                }
            }
        } }
        @if search.samples.len() > MOST_ROWS {
            p.muted { "The best " (MOST_ROWS) " of " (search.samples.len()) " samples; `search.csv` has all." }
        }
    }
}
