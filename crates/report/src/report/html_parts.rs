//! The parts of a task's report on the page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};

use super::parts::{ColumnKind, ReportColumn, ReportPart, ReportTable, TableCell, TaskReport, Tile};
use super::text::value_text;
use crate::sanitize;

/// Tables with more rows than this are folded.
pub(super) const OPEN_ROWS: usize = 25;

pub(super) fn parts(report: &TaskReport) -> Markup {
    html! {
        @for part in &report.parts {
            @match part {
                ReportPart::Tiles(all) => (tiles(all)),
                ReportPart::Note(text) => p.muted { (text) },
                ReportPart::Paragraph(text) => p { (sanitize::line(text)) },
                ReportPart::Picture(picture) => div.picture { (PreEscaped(picture.inline())) },
                ReportPart::Photo(photo) => (self::photo(photo.alt, &photo.jpeg)),
                ReportPart::Table(rows) => (table(rows)),
            }
        }
    }
}

/// What the list of stages shows: `accuracy 91.2 %, macro F1 90.8 %`.
pub(super) fn headline(report: &TaskReport) -> String {
    let shown = report
        .headline
        .iter()
        .map(|(metric, value)| format!("{} {}", metric.title, value_text(metric.format, *value)));
    shown.collect::<Vec<_>>().join(", ")
}

pub(super) fn tiles(tiles: &[Tile]) -> Markup {
    html! {
        div.tiles { @for tile in tiles { div.tile { b { (tile.value) } span { (tile.name) } } } }
    }
}

/// A JPEG file as a part of the page.
pub(super) fn photo(alt: &str, jpeg: &[u8]) -> Markup {
    html! {
        div.scroll {
            img.photo alt=(alt) src={ "data:image/jpeg;base64," (STANDARD.encode(jpeg)) };
        }
    }
}

fn table(table: &ReportTable) -> Markup {
    html! {
        details open[table.always_open || table.rows.len() <= OPEN_ROWS] {
            summary { (table.title) }
            div.scroll {
                table.wide {
                    thead { tr { @for column in &table.columns { (heading(column)) } } }
                    tbody {
                        @for row in &table.rows {
                            tr {
                                @for (column, value) in table.columns.iter().zip(row) { (cell(column.kind, value)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn heading(column: &ReportColumn) -> Markup {
    match column.kind {
        ColumnKind::Number => html! { th.number { (column.heading) } },
        _ => html! { th { (column.heading) } },
    }
}

fn cell(kind: ColumnKind, cell: &TableCell) -> Markup {
    let text = match cell {
        TableCell::Share(share) => {
            return html! { td { span.spark { i style=(format!("width:{:.1}%", share * 100.0)) {} } } };
        }
        TableCell::Text(text) => text,
    };
    match kind {
        ColumnKind::Number => html! { td.number { (text) } },
        ColumnKind::Name => html! { td.name { (sanitize::line(text)) } },
        ColumnKind::File => html! { td.name { code { (sanitize::line(text)) } } },
        ColumnKind::Text | ColumnKind::Bar => html! { td { (sanitize::line(text)) } },
    }
}
