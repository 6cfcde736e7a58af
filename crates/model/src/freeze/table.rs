//! The parameter table: for every parameter, whether and when it trains, and which rule decides.

use super::param_groups::ParamHyper;
use super::phase::FreezePhase;
use super::trainable::TrainableSet;
use super::{adapters, batch_norm, param_groups, trainable, unfreeze};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::{Description, NormMode, RuleError, TensorId};
use crate::pipeline::Train;

/// One parameter in one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterRow {
    pub id: TensorId,
    pub name: String,
    pub shape: Vec<usize>,
    /// Whether it trains at any time in this stage.
    pub trainable: bool,
    /// The number of finished epochs when it starts training; 0 if it trains from the start, or never.
    pub after_epochs: u32,
    /// The rule that decided, such as `train[0] = "@head"`, or `(default)`.
    pub rule: String,
    /// Index into the stage's `groups`.
    pub group: Option<usize>,
    /// Before the schedule; `None` if frozen.
    pub lr: Option<f64>,
    /// `None` if frozen.
    pub weight_decay: Option<f64>,
    /// The epochs of its own warmup, multiplied with the schedule's.
    pub warmup_epochs: f64,
    /// Index into [`Description::layers`].
    pub layer: usize,
    pub is_bias: bool,
}

impl ParameterRow {
    /// The number of its elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Which parameters train in a stage, when, with which learning rate, and the batch normalization modes.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterTable {
    /// In the order of the description; buffers have no row.
    pub rows: Vec<ParameterRow>,
    /// In order; the first begins with the stage. Several if `unfreeze` adds parameters.
    pub phases: Vec<FreezePhase>,
}

/// Numbers of tensors and elements, trainable and frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParameterTotals {
    pub trainable_tensors: usize,
    pub frozen_tensors: usize,
    pub trainable_parameters: usize,
    pub frozen_parameters: usize,
}

impl ParameterTable {
    /// Applies the rules of a stage to a model.
    ///
    /// # Errors
    /// All errors in the rules: invalid patterns; patterns that match nothing, only buffers, or change nothing;
    /// nothing to train; half-frozen batch normalization; parameters in two groups.
    pub fn resolve(description: &Description, stage: &Train) -> Result<Self, Vec<RuleError>> {
        let start = trainable::resolve(description, stage);
        let states = start.and_then(|start| unfreeze::phases(description, stage, start));
        let states =
            states.and_then(|states| match adapters::require_frozen_weights(description, stage, &states) {
                Some(error) => Err(vec![error]),
                None => Ok(states),
            });
        let paces = param_groups::param_hypers(description, stage, states.as_deref().ok());
        let phases = states.as_deref().ok().map(|states| phases(description, stage, states));
        match (states, phases, paces) {
            (Ok(states), Some(Ok(phases)), Ok(paces)) => {
                let row = |id| row(description, id, &states, &phases, paces[id]);
                let rows = description.parameters().map(|(id, _)| row(id)).collect();
                Ok(Self { rows, phases })
            }
            (states, phases, paces) => {
                let mut errors = states.err().unwrap_or_default();
                errors.extend(phases.and_then(Result::err));
                errors.extend(paces.err().unwrap_or_default());
                Err(errors)
            }
        }
    }

    /// The phase of an epoch, counted from 0.
    pub fn phase(&self, epoch: u32) -> &FreezePhase {
        let begun = self.phases.iter().rev().find(|phase| phase.after_epochs <= epoch);
        begun.unwrap_or_else(|| self.first())
    }

    pub fn first(&self) -> &FreezePhase {
        &self.phases[0]
    }

    /// The last phase, in which all parameters train that train at any time.
    pub fn last(&self) -> &FreezePhase {
        &self.phases[self.phases.len() - 1]
    }

    /// The table of a stage that consists of this phase only.
    pub fn during(&self, phase: &FreezePhase) -> Self {
        let mut rows = self.rows.clone();
        for row in &mut rows {
            row.trainable = phase.trainable[row.id];
            row.after_epochs = 0;
            (row.lr, row.weight_decay) =
                if row.trainable { (row.lr, row.weight_decay) } else { (None, None) };
        }
        Self { rows, phases: vec![FreezePhase { after_epochs: 0, ..phase.clone() }] }
    }

    /// Totals of parameters that train at any time, and of those that never do.
    pub fn totals(&self) -> ParameterTotals {
        self.rows.iter().fold(ParameterTotals::default(), |mut totals, row| {
            let numbers = row.elements();
            if row.trainable {
                totals.trainable_tensors += 1;
                totals.trainable_parameters += numbers;
            } else {
                totals.frozen_tensors += 1;
                totals.frozen_parameters += numbers;
            }
            totals
        })
    }

    /// The number of trainable elements in an epoch, counted from 0.
    pub fn trainable_in(&self, epoch: u32) -> usize {
        let phase = self.phase(epoch);
        self.rows.iter().filter(|row| phase.trainable[row.id]).map(ParameterRow::elements).sum()
    }

    /// The tensors that must not change: frozen parameters, constants, and buffers of norms in frozen mode.
    pub fn frozen(&self, description: &Description) -> Vec<TensorId> {
        let mut ids: Vec<TensorId> =
            self.rows.iter().filter(|row| !row.trainable).map(|row| row.id).collect();
        let constants = description.constants().filter(|(_, spec)| spec.is_in_all_files());
        ids.extend(constants.map(|(id, _)| id));
        for (norm, mode) in description.norms.iter().zip(&self.last().norms) {
            if *mode == NormMode::Frozen {
                ids.extend([norm.running_mean, norm.running_var, norm.batch_count]);
            }
        }
        ids.sort_unstable();
        ids
    }

    /// The table as CSV. It has a column of starting epochs if parameters are unfrozen later; with `digests`, by
    /// [`TensorId`], also a column of value digests.
    ///
    /// Every text is a name of the architecture or a rule that matches one, so none is a spreadsheet formula.
    pub fn csv(&self, description: &Description, digests: Option<&[Digest]>) -> Result<String> {
        let mut out = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| Error::failed(format!("cannot write the parameter table: {error}"));
        let mut header = vec!["name", "shape", "trainable", "rule", "group", "lr", "weight_decay", "layer"];
        let joining = self.phases.len() > 1;
        header.extend(joining.then_some("after_epochs"));
        header.extend(digests.map(|_| "blake3"));
        out.write_record(&header).map_err(failed)?;
        for row in &self.rows {
            let shape: Vec<String> = row.shape.iter().map(usize::to_string).collect();
            let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
            let mut record = vec![
                row.name.clone(),
                shape.join("x"),
                row.trainable.to_string(),
                row.rule.clone(),
                row.group.map(|group| group.to_string()).unwrap_or_default(),
                number(row.lr),
                number(row.weight_decay),
                description.layers[row.layer].name.clone(),
            ];
            if joining {
                record.push(if row.trainable { row.after_epochs.to_string() } else { String::new() });
            }
            record.extend(digests.map(|digests| digests[row.id].to_string()));
            out.write_record(&record).map_err(failed)?;
        }
        let bytes = out.into_inner().map_err(|error| failed(error.into_error().into()))?;
        Ok(String::from_utf8(bytes).expect("made of strings"))
    }
}

/// The batch normalization mode in each phase.
fn phases(
    description: &Description,
    stage: &Train,
    states: &[TrainableSet],
) -> Result<Vec<FreezePhase>, RuleError> {
    let begins = std::iter::once(0).chain(stage.unfreeze.iter().map(|unfreeze| unfreeze.after_epochs));
    let phase = |(after_epochs, state): (u32, &TrainableSet)| {
        let norms = batch_norm::modes(description, state, stage.batch_norm)?;
        Ok(FreezePhase { after_epochs, trainable: state.flags.clone(), norms })
    };
    begins.zip(states).map(phase).collect()
}

fn row(
    description: &Description,
    id: TensorId,
    states: &[TrainableSet],
    phases: &[FreezePhase],
    pace: ParamHyper,
) -> ParameterRow {
    let spec = &description.tensors[id];
    let joined = phases.iter().find(|phase| phase.trainable[id]);
    let trains = joined.is_some();
    ParameterRow {
        id,
        name: spec.name.clone(),
        shape: spec.shape.clone(),
        trainable: trains,
        after_epochs: joined.map_or(0, |phase| phase.after_epochs),
        rule: states[states.len() - 1].rule(id).to_owned(),
        group: pace.group.filter(|_| trains),
        lr: trains.then_some(pace.lr),
        weight_decay: trains.then_some(pace.weight_decay),
        warmup_epochs: if trains { pace.warmup_epochs } else { 0.0 },
        layer: spec.layer,
        is_bias: spec.role.is_bias(),
    }
}
