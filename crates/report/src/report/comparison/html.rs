//! The page of a comparison: its figure and its table in one file, without network access, scripts or other files.

use maud::{Markup, PreEscaped, html};

use super::{Column, ComparedRun, RunComparison, comparison_svg};
use crate::metrics::{Direction, Metric};
use crate::report::html::page;
use crate::report::html_parts::photo;
use crate::report::svg::Svg;
use crate::report::text::value_text;

/// Test columns are visually separate, because they must not be used to select a run.
fn aside(column: &Column) -> Option<&'static str> {
    column.of_test.then_some("border-left: 1px solid var(--line); color: var(--muted)")
}

/// A row for each group.
fn table(data: &RunComparison, columns: &[Column]) -> Markup {
    html! {
        div.scroll {
            table.wide {
                tr { th {} @for column in columns { th.number style=[aside(column)] { (column.name) } } }
                @for (index, group) in data.groups.iter().enumerate() {
                    tr {
                        td style="white-space: nowrap" { (group.label) }
                        @for column in columns { td.number style=[aside(column)] { (column.cells[index]) } }
                    }
                }
            }
        }
    }
}

/// Renders the page, with further figures and with sheets of images as JPEG. Equal data gives equal bytes.
pub fn comparison_html(data: &RunComparison, figures: &[Svg], sheets: &[Vec<u8>]) -> String {
    let (columns, differences) = (data.columns(), data.difference_columns());
    let folds = data.groups.iter().flat_map(|group| &group.runs).any(|run| !run.fold.is_empty());
    let best = |run: &ComparedRun, metric: &Metric| {
        let values = run.curve.iter().map(|point| point[1]);
        let best = values.reduce(match metric.better {
            Direction::Higher => f64::max,
            Direction::Lower => f64::min,
        });
        best.map(|value| value_text(metric.format, value)).unwrap_or_default()
    };
    let content = html! {
        header { div.row { h1 { (data.title) } span.muted { "runs compared" } } }
        section.card {
            div.picture { (PreEscaped(comparison_svg(data).inline())) }
            (table(data, &columns))
            p.muted {
                "Mean ± sample standard deviation over runs that differ only in " (data.averaged_over.join(", "))
                ". Time and memory are those of this machine; everything else follows from the results."
            }
            @if let Some(advice) = data.advice() { p.muted { "How to read it: " (advice) "." } }
        }
        @if let Some(baseline) = data.baseline.as_ref().filter(|_| !differences.is_empty()) {
            section.card {
                h2 { "Differences from " (baseline) }
                (table(data, &differences))
                p.muted { (RunComparison::DIFFERENCES) "." }
            }
        }
        @for figure in figures {
            section.card { div.picture { (PreEscaped(figure.inline())) } }
        }
        @if !sheets.is_empty() {
            section.card {
                h2 { "Images, those with the most different answers first" }
                @for sheet in sheets {
                    (photo("images with truth and predictions", sheet))
                }
            }
        }
        section.card {
            h2 { "Runs" }
            div.scroll {
                table.wide {
                    tr { th { "run" } th { "label" } th.number { "seed" } @if folds { th.number { "fold" } } th { "state" } @if let Some(metric) = data.curve { th.number { "best " (metric.title) " of its curve" } } }
                    @for run in data.groups.iter().flat_map(|group| &group.runs) {
                        tr {
                            td { code { (run.name) "/" (run.id) } }
                            td { (run.label.as_deref().unwrap_or("")) }
                            td.number { (run.seed) }
                            @if folds { td.number { (run.fold.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")) } }
                            td { (run.state) }
                            @if let Some(metric) = data.curve { td.number { (best(run, metric)) } }
                        }
                    }
                }
            }
        }
    };
    page(&format!("{}: runs compared", data.title), &content)
}
