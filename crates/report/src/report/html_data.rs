//! The data sets on the report's page: splits, classes, equal files.

use maud::{Markup, html};

use super::html_parts::OPEN_ROWS;
use super::samples::{SampleImages, samples};
use super::text::{count, percent};
use crate::data::{BoxSummary, DatasetSummary, Duplicates, SplitSummary};
use crate::sanitize;

/// The maximum numbers of pairs of equal files and of classes listed; `data.json` has all.
const SHOWN_DOUBLES: usize = 20;
const SHOWN_CLASSES: usize = 1000;

pub(super) fn card(name: &str, data: &DatasetSummary, images: Option<&SampleImages>) -> Markup {
    html! {
        section.card {
            h2 { "Data: " (sanitize::line(name)) }
            div.scroll {
                table {
                    tr {
                        th { "part" } th.number { "images" }
                        @if grouped(data) { th.number { "groups" } }
                        th.number { "share" } th.number { "asked" }
                    }
                    @for part in data.parts.iter().filter(|part| part.images > 0) { (part_row(part)) }
                }
            }
            (classes(data))
            @if let Some(images) = images { (samples(images)) }
            @if let Some(boxes) = &data.boxes { (boxes_note(boxes)) }
            @for near in &data.near_names {
                p { "Probably the same class, or no class: " @for name in &near.names { code { (sanitize::line(name)) } " " } }
            }
            (doubles(&data.doubles))
        }
    }
}

fn grouped(data: &DatasetSummary) -> bool {
    data.parts.iter().any(|part| part.groups.is_some())
}

fn part_row(part: &SplitSummary) -> Markup {
    html! {
        tr {
            td { (part.part.in_words()) }
            td.number { (count(part.images as u64)) }
            @if let Some(groups) = part.groups { td.number { (count(groups as u64)) } }
            td.number { @if part.differs { strong { (percent(part.got)) } } @else { (percent(part.got)) } }
            td.number { @if let Some(asked) = part.asked { (percent(asked)) } }
        }
    }
}

fn classes(data: &DatasetSummary) -> Markup {
    html! {
        details open[data.classes.len() <= OPEN_ROWS] {
            summary { @if data.multi_label { "Labels" } @else { "Classes" } }
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "name" } th.number { "training" } th.number { "validation" } th.number { "test" }
                        }
                    }
                    @for class in data.classes.iter().take(SHOWN_CLASSES) {
                        tr {
                            td.name { (sanitize::line(&class.name)) }
                            @for part in 0..3 {
                                td.number {
                                    (count(class.images[part] as u64))
                                    @if let Some(groups) = class.groups { " (" (count(groups[part] as u64)) ")" }
                                }
                            }
                        }
                    }
                }
            }
            @if data.classes.len() > SHOWN_CLASSES {
                p.muted { (count((data.classes.len() - SHOWN_CLASSES) as u64)) " more are in data.json." }
            }
            @if grouped(data) { p.muted { "In parentheses: groups." } }
            @if data.unlabelled > 0 { p.muted { (count(data.unlabelled as u64)) " images without any label." } }
        }
    }
}

/// The numbers of boxes and of images without any, and the sizes of boxes.
fn boxes_note(boxes: &BoxSummary) -> Markup {
    let row = |name: &str, parts: [usize; 3]| {
        html! {
            @if parts.iter().sum::<usize>() > 0 {
                tr { td { (name) } @for part in parts { td.number { (count(part as u64)) } } }
            }
        }
    };
    html! {
        div.scroll {
            table {
                tr { th {} th.number { "training" } th.number { "validation" } th.number { "test" } }
                (row("boxes", boxes.boxes))
                (row("ignored boxes (crowds, difficult objects)", boxes.ignored))
                (row("images without a box", boxes.background))
            }
        }
        @if let Some([small, medium, large]) = boxes.sizes {
            p.muted {
                "Boxes: " (count(small as u64)) " small (below 32 × 32 pixels), " (count(medium as u64))
                " medium (below 96 × 96), " (count(large as u64)) " large."
            }
        }
    }
}

fn doubles(doubles: &Duplicates) -> Markup {
    html! {
        @if !doubles.pairs.is_empty() {
            details {
                summary {
                    "Equal files: " (count(doubles.across_parts as u64)) " in two splits, "
                    (count(doubles.across_classes as u64)) " in two classes"
                }
                div.scroll {
                    table {
                        tr { th { "file" } th { "part" } th { "class" } th { "same as" } th { "part" } th { "class" } }
                        @for double in doubles.pairs.iter().take(SHOWN_DOUBLES) {
                            tr {
                                @for side in 0..2 {
                                    td { code { (sanitize::line(&double.files[side])) } }
                                    td { (double.parts[side].name()) }
                                    td { (sanitize::line(&double.classes[side])) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
