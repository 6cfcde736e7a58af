//! The parameters of a train stage: which train when, and at which rates.

use std::collections::BTreeMap;

use serde::Serialize;

use super::is_default;
use crate::freeze::{FreezePhase, ParameterRow, ParameterTable};
use crate::model::{Description, NormMode};
use crate::pipeline;

/// The parameters that the freezing rules select.
#[derive(Serialize)]
pub struct ParametersRecipe<'a> {
    trainable: Vec<&'a str>,
    norms_in_training: Vec<&'a str>,
    /// By name, the rates that are not the optimizer's own, so that a changed learning rate is one change.
    paces: BTreeMap<&'a str, PaceRecipe>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unfreeze: Vec<UnfreezeRecipe<'a>>,
}

/// The parameters that train from a later epoch on, with all that train before.
#[derive(Serialize)]
struct UnfreezeRecipe<'a> {
    after_epochs: u32,
    trainable: Vec<&'a str>,
    norms_in_training: Vec<&'a str>,
}

#[derive(Serialize)]
struct PaceRecipe {
    lr: Option<f64>,
    weight_decay: Option<f64>,
    #[serde(skip_serializing_if = "is_default")]
    warmup_epochs: f64,
}

impl<'a> ParametersRecipe<'a> {
    pub fn of(description: &'a Description, settings: &pipeline::Train, table: &'a ParameterTable) -> Self {
        let unfreeze = |phase: &FreezePhase| UnfreezeRecipe {
            after_epochs: phase.after_epochs,
            trainable: trainable(table, phase),
            norms_in_training: norms_in_training(description, phase),
        };
        let first = table.first();
        Self {
            trainable: trainable(table, first),
            norms_in_training: norms_in_training(description, first),
            paces: paces(settings, table),
            unfreeze: table.phases[1..].iter().map(unfreeze).collect(),
        }
    }
}

fn trainable<'a>(table: &'a ParameterTable, phase: &FreezePhase) -> Vec<&'a str> {
    let rows = table.rows.iter().filter(|row| phase.trainable[row.id]);
    rows.map(|row| row.name.as_str()).collect()
}

fn norms_in_training<'a>(description: &'a Description, phase: &FreezePhase) -> Vec<&'a str> {
    let norms = description.norms.iter().zip(&phase.norms);
    let training = norms.filter(|(_, mode)| **mode == NormMode::Training);
    training.map(|(norm, _)| norm.name.as_str()).collect()
}

/// The rates that are not the optimizer's own, by name.
fn paces<'a>(settings: &pipeline::Train, table: &'a ParameterTable) -> BTreeMap<&'a str, PaceRecipe> {
    let own = |row: &&ParameterRow| {
        let mut later = settings.unfreeze.iter().filter(|later| later.after_epochs == row.after_epochs);
        let grouped = row.group.is_some() || later.any(|later| !later.rates().is_empty());
        row.trainable && (grouped || settings.layer_decay.is_some() || row.weight_decay == Some(0.0))
    };
    let pace = |row: &'a ParameterRow| {
        let ParameterRow { lr, weight_decay, warmup_epochs, .. } = *row;
        (row.name.as_str(), PaceRecipe { lr, weight_decay, warmup_epochs })
    };
    table.rows.iter().filter(own).map(pace).collect()
}
