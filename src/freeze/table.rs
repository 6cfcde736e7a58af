//! The parameter table: what a stage does with every parameter, and why.

use super::groups::Pace;
use super::{batch_norm, groups, trainable};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::{Description, NormMode, RuleError, TensorId};
use crate::pipeline::Train;

/// One parameter in one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub id: TensorId,
    pub name: String,
    pub shape: Vec<usize>,
    pub trainable: bool,
    /// What decided it, such as `train[0] = "@head"`, or `(default)`.
    pub rule: String,
    /// Index into the stage's `groups`.
    pub group: Option<usize>,
    /// Before the schedule; none where frozen.
    pub lr: Option<f64>,
    /// None where frozen.
    pub weight_decay: Option<f64>,
    /// Index into [`Description::layers`].
    pub layer: usize,
}

/// Who trains in a stage, how fast, and what batch normalisation does.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterTable {
    /// The parameters in the order of the description; buffers have no row.
    pub rows: Vec<Row>,
    /// By [`TensorId`]; false for every buffer.
    pub trainable: Vec<bool>,
    /// By place in [`Description::norms`].
    pub norms: Vec<NormMode>,
}

/// Tensors and numbers of the two kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub trainable_tensors: usize,
    pub frozen_tensors: usize,
    pub trainable_parameters: usize,
    pub frozen_parameters: usize,
}

impl ParameterTable {
    /// Applies the rules of a stage to a model.
    ///
    /// # Errors
    /// Everything that is wrong with them: patterns that are no patterns, match nothing, only buffers, or change
    /// nothing; nothing to train; half-frozen batch normalisation; parameters in two groups.
    pub fn resolve(description: &Description, stage: &Train) -> Result<Self, Vec<RuleError>> {
        let trainable = trainable::resolve(description, stage);
        let paces = groups::paces(description, stage, trainable.as_ref().ok());
        let norms = trainable.as_ref().ok().map(|it| batch_norm::modes(description, it, stage.batch_norm));
        match (trainable, norms, paces) {
            (Ok(trainable), Some(Ok(norms)), Ok(paces)) => {
                let row = |id| row(description, id, &trainable, paces[id]);
                let rows = description.parameters().map(|(id, _)| row(id)).collect();
                Ok(Self { rows, trainable: trainable.flags, norms })
            }
            (trainable, norms, paces) => {
                let mut errors = trainable.err().unwrap_or_default();
                errors.extend(norms.and_then(Result::err));
                errors.extend(paces.err().unwrap_or_default());
                Err(errors)
            }
        }
    }

    pub fn totals(&self) -> Totals {
        self.rows.iter().fold(Totals::default(), |mut totals, row| {
            let numbers = row.shape.iter().product::<usize>();
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

    /// All that must not move by a bit: frozen parameters, and the buffers of normalisations in frozen mode.
    pub fn frozen(&self, description: &Description) -> Vec<TensorId> {
        let mut ids: Vec<TensorId> =
            self.rows.iter().filter(|row| !row.trainable).map(|row| row.id).collect();
        for (norm, mode) in description.norms.iter().zip(&self.norms) {
            if *mode == NormMode::Frozen {
                ids.extend([norm.running_mean, norm.running_var, norm.batch_count]);
            }
        }
        ids.sort_unstable();
        ids
    }

    /// How many layers from the first on hold nothing that trains or updates: they run as plain inference.
    pub fn frozen_prefix(&self, description: &Description) -> usize {
        let trained = self.rows.iter().filter(|row| row.trainable).map(|row| row.layer);
        let updating =
            description.norms.iter().zip(&self.norms).filter(|(_, mode)| **mode == NormMode::Training);
        let updated = updating.map(|(norm, _)| description.tensors[norm.weight].layer);
        trained.chain(updated).min().unwrap_or(description.layers.len())
    }

    /// The table as CSV; with `digests`, by [`TensorId`], also that of each tensor's numbers.
    pub fn csv(&self, description: &Description, digests: Option<&[Digest]>) -> Result<String> {
        let mut out = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| Error::failed(format!("cannot write the parameter table: {error}"));
        let mut header = vec!["name", "shape", "trainable", "rule", "group", "lr", "weight_decay", "layer"];
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
            record.extend(digests.map(|digests| digests[row.id].to_string()));
            out.write_record(&record).map_err(failed)?;
        }
        let bytes = out.into_inner().map_err(|error| failed(error.into_error().into()))?;
        Ok(String::from_utf8(bytes).expect("made of strings"))
    }
}

fn row(description: &Description, id: TensorId, trainable: &trainable::Trainable, pace: Pace) -> Row {
    let spec = &description.tensors[id];
    let trains = trainable.flags[id];
    Row {
        id,
        name: spec.name.clone(),
        shape: spec.shape.clone(),
        trainable: trains,
        rule: trainable.rule(id).to_owned(),
        group: pace.group.filter(|_| trains),
        lr: trains.then_some(pace.lr),
        weight_decay: trains.then_some(pace.weight_decay),
        layer: spec.layer,
    }
}
