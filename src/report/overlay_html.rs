//! The page of a comparison: its picture and its table in one file that needs no network, no script and no other file.

use maud::{DOCTYPE, PreEscaped, html};

use super::comparison::Overlay;
use super::overlay::overlay;
use super::text::percent;
use crate::visible;

/// Renders the page. Equal data give equal bytes.
pub fn overlay_html(data: &Overlay) -> String {
    let columns = data.columns();
    let accuracy = |run: &super::comparison::ComparedRun| {
        run.curve.iter().map(|point| point[1]).reduce(f64::max).map(percent).unwrap_or_default()
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content="defrost";
                title { (data.title) ": runs compared" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    header { div.row { h1 { (data.title) } span.muted { "runs compared" } } }
                    section.card {
                        div.picture { (PreEscaped(overlay(data).inline())) }
                        div.scroll {
                            table.wide {
                                tr { th {} @for column in &columns { th.number { (column.name) } } }
                                @for (index, group) in data.groups.iter().enumerate() {
                                    tr {
                                        td.name { (group.label) }
                                        @for column in &columns { td.number { (column.cells[index]) } }
                                    }
                                }
                            }
                        }
                        p.muted {
                            "Mean ± sample standard deviation over runs that differ in their seed alone. Time and memory are this machine\u{2019}s; all else follows from the results."
                        }
                    }
                    section.card {
                        h2 { "Runs" }
                        div.scroll {
                            table.wide {
                                tr { th { "run" } th { "label" } th.number { "seed" } th { "state" } th.number { "best accuracy of its curve" } }
                                @for run in data.groups.iter().flat_map(|group| &group.runs) {
                                    tr {
                                        td { code { (run.name) "/" (run.id) } }
                                        td { (run.label.as_deref().unwrap_or("")) }
                                        td.number { (run.seed) }
                                        td { (run.state) }
                                        td.number { (accuracy(run)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    visible::document(&page.into_string()).into_owned()
}
