//! Everything that changes while a stage trains, and its way into and out of a checkpoint.
//!
//! A checkpoint holds all of it and nothing that cannot change: frozen tensors come from the source weights again.
//! What is not a tensor is written as TOML, which unlike JSON has words for numbers that are not finite: the validation
//! loss of a stage about to diverge is one.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::task::Scores;
use super::{Optimizer, Plateau, Tracker};
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::{Description, State, TensorId};

/// One epoch of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// From 1.
    pub epoch: u32,
    /// The base learning rate of the epoch's last step.
    pub lr: f64,
    pub train: Scores,
    pub validation: Option<Scores>,
    /// Whether this epoch was the best when it ended.
    pub best: bool,
}

/// The weights and the validation outcome of the best epoch so far.
pub struct Best<M> {
    /// Only what can change; in description order.
    tensors: Vec<(TensorId, Tensor)>,
    pub meter: M,
}

/// The moving parts of a stage in training.
pub struct Progress<M> {
    pub state: State,
    pub optimizer: Optimizer,
    /// Epochs completed.
    pub epoch: u32,
    /// Batches completed in the current epoch.
    pub batch: usize,
    /// Optimizer steps completed.
    pub step: u64,
    /// Running metric sums of the current epoch.
    pub meter: M,
    pub history: Vec<Row>,
    pub tracker: Tracker,
    pub plateau: Plateau,
    /// The names of samples left out because they cannot be read.
    pub broken: BTreeSet<String>,
    pub best: Option<Best<M>>,
}

/// A checkpoint as data: named tensors, and everything else as TOML.
pub struct Checkpoint {
    pub tensors: Vec<(String, Tensor)>,
    pub position: String,
}

/// The half of a checkpoint that is not tensors.
#[derive(Serialize, Deserialize)]
struct Position<M> {
    epoch: u32,
    batch: usize,
    step: u64,
    meter: M,
    history: Vec<Row>,
    tracker: Tracker,
    plateau: Plateau,
    broken: BTreeSet<String>,
    best: Option<M>,
}

impl<M: Clone + Serialize + DeserializeOwned> Progress<M> {
    /// The beginning of a stage.
    pub fn start(state: State, optimizer: Optimizer, tracker: Tracker, meter: M) -> Self {
        Self {
            state,
            optimizer,
            epoch: 0,
            batch: 0,
            step: 0,
            meter,
            history: Vec::new(),
            tracker,
            plateau: Plateau::default(),
            broken: BTreeSet::new(),
            best: None,
        }
    }

    /// Remembers the present weights as the best, with the outcome that made them so.
    /// Training replaces tensors and never changes one, so holding on to them is enough.
    pub fn keep_best(&mut self, description: &Description, table: &ParameterTable, meter: M) {
        let moving = moving(description, table).into_iter();
        let tensors = moving.map(|id| (id, self.state.tensors[id].clone())).collect();
        self.best = Some(Best { tensors, meter });
    }

    /// The weights of the best epoch, if any was judged.
    pub fn best_state(&self) -> Option<State> {
        let mut state = self.state.clone();
        for (id, tensor) in &self.best.as_ref()?.tensors {
            state.tensors[*id] = tensor.clone();
        }
        Some(state)
    }

    pub fn checkpoint(&self, description: &Description, table: &ParameterTable) -> Result<Checkpoint> {
        let name = |id: TensorId| &description.tensors[id].name;
        let mut tensors: Vec<(String, Tensor)> = moving(description, table)
            .into_iter()
            .map(|id| (format!("model/{}", name(id)), self.state.tensors[id].clone()))
            .collect();
        if let Some(best) = &self.best {
            tensors.extend(
                best.tensors.iter().map(|(id, tensor)| (format!("best/{}", name(*id)), tensor.clone())),
            );
        }
        tensors.extend(
            self.optimizer.state()?.into_iter().map(|(name, tensor)| (format!("optimizer/{name}"), tensor)),
        );
        let position = toml::to_string(&Position {
            epoch: self.epoch,
            batch: self.batch,
            step: self.step,
            meter: self.meter.clone(),
            history: self.history.clone(),
            tracker: self.tracker.clone(),
            plateau: self.plateau.clone(),
            broken: self.broken.clone(),
            best: self.best.as_ref().map(|best| best.meter.clone()),
        })
        .map_err(|error| Error::failed(format!("cannot write a checkpoint: {error}")))?;
        Ok(Checkpoint { tensors, position })
    }

    /// Takes up a checkpoint in a progress that [`Progress::start`] made from the same settings and weights.
    pub fn resume(
        &mut self,
        checkpoint: Checkpoint,
        description: &Description,
        table: &ParameterTable,
    ) -> Result<()> {
        let position: Position<M> = toml::from_str(&checkpoint.position)
            .map_err(|error| Error::failed(format!("the checkpoint cannot be read: {error}")))?;
        let mut tensors: BTreeMap<String, Tensor> = checkpoint.tensors.into_iter().collect();
        let moving = moving(description, table);
        let mut take = |prefix: &str, id: TensorId| {
            let name = format!("{prefix}/{}", description.tensors[id].name);
            tensors.remove(&name).ok_or_else(|| Error::failed(format!("the checkpoint lacks `{name}`")))
        };
        for &id in &moving {
            self.state.tensors[id] = take("model", id)?;
        }
        self.best = match position.best {
            Some(meter) => {
                let tensors = moving.iter().map(|&id| Ok((id, take("best", id)?))).collect::<Result<_>>()?;
                Some(Best { tensors, meter })
            }
            None => None,
        };
        let optimizer: Vec<(String, Tensor)> = tensors
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("optimizer/")?.to_owned(), tensor)))
            .collect();
        self.optimizer.restore(&optimizer)?;
        self.epoch = position.epoch;
        self.batch = position.batch;
        self.step = position.step;
        self.meter = position.meter;
        self.history = position.history;
        self.tracker = position.tracker;
        self.plateau = position.plateau;
        self.broken = position.broken;
        Ok(())
    }
}

/// The tensors a stage can change: trainable parameters, and the running statistics of norms in training mode.
fn moving(description: &Description, table: &ParameterTable) -> Vec<TensorId> {
    let frozen: BTreeSet<TensorId> = table.frozen(description).into_iter().collect();
    (0..description.tensors.len()).filter(|id| !frozen.contains(id)).collect()
}
