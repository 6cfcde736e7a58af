//! `defrost params`: shows which parameters train, by which rule, and at which learning rate.

mod layers;

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::freeze::{ParameterRow, ParameterTable};
use defrost::model::{Description, NormMode};
use defrost::plan::{DiskAccess, StageDraft};
use defrost::report;
use defrost::stage::ResolvedStage;
use defrost::{Error, Result};
use serde_json::{Value, json};

use super::console::shown;
use super::{Console, PipelineOptions};
use layers::{layer_lines, layer_rows};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost params turtles.toml --stage frozen")]
pub struct Args {
    /// Pipeline file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show only this train stage
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Show one line for each layer instead of each parameter
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

/// A train stage and the parameter table of its model.
struct Resolution<'a> {
    stage: &'a str,
    from: &'a str,
    description: &'a Description,
    table: &'a ParameterTable,
    image_size: usize,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let (pipeline, drafts) = args.pipeline.load(&args.file, DiskAccess::Names, console)?;
    let mut tables: Vec<Resolution> = drafts.iter().filter_map(resolution).collect();
    if let Some(wanted) = &args.stage {
        let names: Vec<String> = tables.iter().map(|table| format!("`{}`", table.stage)).collect();
        tables.retain(|table| table.stage == wanted);
        if tables.is_empty() {
            let error = match pipeline.stage(wanted) {
                Some(_) => Error::usage(format!("stage `{wanted}` is not a train stage")),
                None => Error::usage(format!("unknown stage `{wanted}`")),
            };
            return Err(error.hint(match &names[..] {
                [] => "this pipeline has no train stage: add a stage with `kind = \"train\"`".to_owned(),
                names => format!("the train stages are {}", names.join(", ")),
            }));
        }
    }
    if console.json() {
        console.document(&json!({ "stages": tables.iter().map(document).collect::<Vec<_>>() }));
    } else {
        let texts: Vec<String> = tables.iter().map(|table| text(table, args.layers)).collect();
        console.say(texts.join("\n\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn resolution(draft: &StageDraft) -> Option<Resolution<'_>> {
    let ResolvedStage::Train(train, _) = &draft.work else { return None };
    let (description, table) = (&train.description, &train.table);
    let image_size = train.preprocess.0.image_size;
    Some(Resolution { stage: &draft.name, from: &train.settings.from, description, table, image_size })
}

fn document(resolution: &Resolution) -> Value {
    let Resolution { stage, description, table, .. } = resolution;
    let totals = table.totals();
    let (train, eval) = table.last().norm_counts();
    let parameter = |row: &ParameterRow| {
        json!({
            "name": row.name,
            "shape": row.shape,
            "trainable": row.trainable,
            "after_epochs": row.trainable.then_some(row.after_epochs),
            "lr": row.lr,
            "weight_decay": row.weight_decay,
            "warmup_epochs": row.warmup_epochs,
            "rule": row.rule,
            "group": row.group,
            "layer": row.layer,
        })
    };
    json!({
        "name": stage,
        "arch": description.arch,
        "trainable_tensors": totals.trainable_tensors,
        "frozen_tensors": totals.frozen_tensors,
        "trainable_parameters": totals.trainable_parameters,
        "frozen_parameters": totals.frozen_parameters,
        "batch_norm": { "total": train + eval, "train": train, "eval": eval },
        "phases": table.unfreeze_summaries(description),
        "constants": description.constants().map(|(_, tensor)| &tensor.name).collect::<Vec<_>>(),
        "layer_table": layer_rows(description, table, resolution.image_size),
        "layers": description.layers.iter().map(|layer| &layer.name).collect::<Vec<_>>(),
        "parameters": table.rows.iter().map(parameter).collect::<Vec<_>>(),
    })
}

/// One line per parameter, grouped by the layers that depth settings count. A table of the layers follows if the
/// architecture has any without parameters, since these count too; or comes alone if `only_layers`.
fn text(resolution: &Resolution, only_layers: bool) -> String {
    let Resolution { stage, from, description, table, image_size } = resolution;
    let mut lines = vec![format!("stage {stage}: {} from {from}", description.arch), String::new()];
    if !only_layers {
        lines.extend(parameter_lines(description, table));
        lines.push(String::new());
    }
    let rows = layer_rows(description, table, *image_size);
    if only_layers || rows.iter().any(|row| row.parameters == 0) {
        lines.extend(layer_lines(&rows, *image_size));
        lines.push(String::new());
    }
    lines.extend(totals(description, table));
    if table.phases.len() > 1 {
        lines.extend(
            table
                .unfreeze_summaries(description)
                .iter()
                .map(|joining| format!("  {}", report::unfreeze_summary(joining))),
        );
    }
    lines.join("\n")
}

fn parameter_lines(description: &Description, table: &ParameterTable) -> Vec<String> {
    // Adapters come last in the table, and belong to earlier layers.
    let mut rows: Vec<&ParameterRow> = table.rows.iter().collect();
    rows.sort_by_key(|row| row.layer);
    let cells: Vec<[String; 7]> = rows.iter().map(|row| cells(row, description, table)).collect();
    let header = ["parameter", "shape", "", "lr", "decay", "batch norm", "rule"];
    let widths: [usize; 7] = std::array::from_fn(|column| {
        cells
            .iter()
            .map(|cells| cells[column].chars().count())
            .chain([header[column].len()])
            .max()
            .unwrap_or(0)
    });
    let line = |cells: &[&str; 7]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("    {}", padded.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    let mut lines = vec![line(&header)];
    let mut layer = None;
    for (row, cells) in rows.iter().zip(&cells) {
        if layer != Some(row.layer) {
            layer = Some(row.layer);
            lines.push(format!("  {} {}", row.layer, description.layers[row.layer].name));
        }
        lines.push(line(&cells.each_ref().map(String::as_str)));
    }
    lines
}

fn cells(row: &ParameterRow, description: &Description, table: &ParameterTable) -> [String; 7] {
    let shape: Vec<String> = row.shape.iter().map(usize::to_string).collect();
    let norm = description.norms.iter().position(|norm| norm.weight == row.id || norm.bias == row.id);
    let mode = norm.map_or("", |norm| match table.last().norms[norm] {
        NormMode::Training => "train",
        NormMode::Frozen => "eval",
    });
    [
        row.name.clone(),
        shape.join("×"),
        match (row.trainable, row.after_epochs) {
            (false, _) => "frozen".to_owned(),
            (true, 0) => "trains".to_owned(),
            (true, after) => format!("from epoch {}", after + 1),
        },
        row.lr.map(report::shortest).unwrap_or_default(),
        row.weight_decay.map(report::shortest).unwrap_or_default(),
        mode.to_owned(),
        shown(&row.rule),
    ]
}

fn totals(description: &Description, table: &ParameterTable) -> Vec<String> {
    let totals = table.totals();
    let count = |kind: &str, tensors: usize, parameters: usize| {
        format!("  {kind}  {tensors:>4} tensors  {:>12} parameters", report::count(parameters as u64))
    };
    let (train, eval) = table.last().norm_counts();
    let mut lines = vec![
        count("trains", totals.trainable_tensors, totals.trainable_parameters),
        count("frozen", totals.frozen_tensors, totals.frozen_parameters),
        format!("  batch norm: {} layers, {train} train, {eval} eval", train + eval),
    ];
    let constants: Vec<&str> = description.constants().map(|(_, tensor)| tensor.name.as_str()).collect();
    if !constants.is_empty() {
        lines.push(format!("  constant, not a parameter: {}", constants.join(", ")));
    }
    lines
}
