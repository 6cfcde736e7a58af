//! An evaluation of labels, of which an image has any number, on the report's page.

use maud::{Markup, html};

use super::html_stage::{OPEN_ROWS, tile};
use super::text::{count, number, percent};
use crate::metrics::MultiLabel;

pub(super) fn tiles(metrics: &MultiLabel) -> Markup {
    html! {
        div.tiles {
            @if let Some(map) = metrics.map { (tile(&percent(map), "mAP")) }
            (tile(&percent(metrics.micro_f1), "micro F1"))
            (tile(&percent(metrics.macro_f1), "macro F1"))
            (tile(&percent(metrics.accuracy), "images with all labels right"))
            (tile(&number(metrics.loss), "loss"))
            (tile(&count(metrics.samples), "images"))
        }
    }
}

pub(super) fn table(metrics: &MultiLabel) -> Markup {
    html! {
        details open[metrics.per_class.len() <= OPEN_ROWS] {
            summary { "Labels" }
            div.scroll {
                table.wide {
                    tr {
                        th { "label" } th.number { "precision" } th.number { "recall" } th.number { "F1" }
                        th.number { "average precision" } th {} th.number { "images" }
                    }
                    @for label in &metrics.per_class {
                        @let precision = label.average_precision.unwrap_or_default();
                        tr {
                            td.name { (crate::visible::line(&label.class)) }
                            td.number { (percent(label.precision)) }
                            td.number { (percent(label.recall)) }
                            td.number { (percent(label.f1)) }
                            td.number { (percent(precision)) }
                            td { span.spark { i style=(format!("width:{:.1}%", precision * 100.0)) {} } }
                            td.number { (count(label.support)) }
                        }
                    }
                }
            }
        }
    }
}

/// The one result that the overview shows.
pub(super) fn key_result(metrics: &MultiLabel) -> String {
    let map = metrics.map.map(|map| format!("mAP {}, ", percent(map))).unwrap_or_default();
    format!("{map}micro F1 {}", percent(metrics.micro_f1))
}
