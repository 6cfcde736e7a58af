//! The table of the layers that depth settings count.

use defrost::freeze::ParameterTable;
use defrost::model::Description;
use defrost::report;
use serde::Serialize;

/// One layer.
#[derive(Serialize)]
pub struct LayerRow {
    pub index: usize,
    pub name: String,
    pub kind: &'static str,
    /// The sizes of what it puts out for an image, the channels first.
    pub output: Vec<usize>,
    /// What an optimizer can train.
    pub parameters: usize,
    pub frozen_parameters: usize,
    pub norms: usize,
}

pub fn layer_rows(description: &Description, table: &ParameterTable, image_size: usize) -> Vec<LayerRow> {
    let mut rows: Vec<LayerRow> = (0..description.layers.len())
        .map(|index| LayerRow {
            index,
            name: description.layers[index].name.clone(),
            kind: description.kind(index),
            output: description.layers[index].output.shape(image_size),
            parameters: 0,
            frozen_parameters: 0,
            norms: 0,
        })
        .collect();
    for row in &table.rows {
        let layer = &mut rows[row.layer];
        layer.parameters += row.elements();
        layer.frozen_parameters += if row.trainable { 0 } else { row.elements() };
    }
    for norm in &description.norms {
        rows[description.tensors[norm.weight].layer].norms += 1;
    }
    rows
}

/// Aligned lines under a header.
pub fn layer_lines(rows: &[LayerRow], image_size: usize) -> Vec<String> {
    let header = ["layer", "", "kind", "output", "parameters", "norms", ""].map(str::to_owned);
    let cells: Vec<[String; 7]> = std::iter::once(header).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| cells.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |cells: &[String; 7]| {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 4 | 5 => format!("{cell:>width$}"),
            _ => format!("{cell:width$}"),
        });
        format!("  {}", padded.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    let mut lines = vec![format!("  layers, for images of {image_size} × {image_size} pixels")];
    lines.extend(cells.iter().map(line));
    lines
}

fn cells(row: &LayerRow) -> [String; 7] {
    let number = |number: usize| match number {
        0 => "–".to_owned(),
        number => report::count(number as u64),
    };
    let output: Vec<String> = row.output.iter().map(usize::to_string).collect();
    let state = match (row.parameters, row.frozen_parameters) {
        (0, _) => "",
        (_, 0) => "trains",
        (all, frozen) if all == frozen => "frozen",
        _ => "partly frozen",
    };
    [
        row.index.to_string(),
        row.name.clone(),
        row.kind.to_owned(),
        output.join("×"),
        number(row.parameters),
        number(row.norms),
        state.to_owned(),
    ]
}
