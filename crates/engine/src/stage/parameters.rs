//! What a recipe says of the parameters of a train stage: who trains when, and at which rates.

use serde_json::{Map, Value, json};

use crate::freeze::{ParameterTable, Phase, Row};
use crate::model::{Description, NormMode};
use crate::pipeline;

/// What the rules come to, for the recipe. Rates stand only where they are not the optimizer's own, so that a changed
/// learning rate is one change.
pub(super) fn document(
    description: &Description,
    settings: &pipeline::Train,
    table: &ParameterTable,
) -> Value {
    let first = table.first();
    let trained = |phase: &Phase| {
        let rows = table.rows.iter().filter(|row| phase.trainable[row.id]);
        rows.map(|row| row.name.clone()).collect::<Vec<_>>()
    };
    let updated = |phase: &Phase| {
        let norms = description.norms.iter().zip(&phase.norms);
        let training = norms.filter(|(_, mode)| **mode == NormMode::Training);
        training.map(|(norm, _)| norm.name.clone()).collect::<Vec<_>>()
    };
    let mut document = json!({
        "trainable": trained(first),
        "paces": paces(settings, table),
        "norms_in_training": updated(first),
    });
    if table.phases.len() > 1 {
        let phase = |phase: &Phase| {
            json!({
                "after_epochs": phase.after_epochs,
                "trainable": trained(phase),
                "norms_in_training": updated(phase),
            })
        };
        document["unfreeze"] = table.phases[1..].iter().map(phase).collect();
    }
    document
}

/// The rates that are not the optimizer's own, by name.
fn paces(settings: &pipeline::Train, table: &ParameterTable) -> Map<String, Value> {
    let own = |row: &&Row| {
        let mut later = settings.unfreeze.iter().filter(|later| later.after_epochs == row.after_epochs);
        let grouped = row.group.is_some() || later.any(|later| !later.rates().is_empty());
        row.trainable && (grouped || settings.layer_decay.is_some() || row.weight_decay == Some(0.0))
    };
    let pace = |row: &Row| {
        let mut pace = json!({ "lr": row.lr, "weight_decay": row.weight_decay });
        if row.warmup_epochs > 0.0 {
            pace["warmup_epochs"] = json!(row.warmup_epochs);
        }
        (row.name.clone(), pace)
    };
    table.rows.iter().filter(own).map(pace).collect()
}
