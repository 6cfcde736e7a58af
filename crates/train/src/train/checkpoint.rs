//! Everything that changes while a stage trains, and its conversion to and from checkpoints.
//!
//! A checkpoint contains all of it and nothing that cannot change: frozen tensors are read from the source
//! weights again. Values other than tensors are TOML, which unlike JSON can represent non-finite numbers, such
//! as the validation loss of a diverging stage.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ema::EmaWeights;
use super::gradients::AccumulatedGradients;
use super::loss_scale::LossScale;
use super::task::{Scores, TrainTask};
use super::{BestTracker, Optimizer, Plateau, TrainContext};
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::{BufferUpdates, Description, StateDict, TensorId};

/// One epoch of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// From 1.
    pub epoch: u32,
    /// The base learning rate at the epoch's last step.
    pub lr: f64,
    /// That of biases, if it is another one: in a warmup that starts elsewhere for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias_lr: Option<f64>,
    pub train: Scores,
    pub validation: Option<Scores>,
    /// Whether this epoch was the best when it ended.
    pub best: bool,
    /// Steps that were skipped because their gradients overflowed, if the stage has a loss scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<u64>,
}

/// The weights and validation results of the best epoch so far.
pub struct BestWeights<M> {
    /// Only tensors that can change, in description order.
    tensors: Vec<(TensorId, Tensor)>,
    pub meter: M,
}

/// The changing state of a stage in training.
pub struct TrainProgress<M> {
    pub state: StateDict,
    pub optimizer: Optimizer,
    /// The gradients since the last optimizer step.
    pub(super) gradients: AccumulatedGradients,
    /// The gradients of the distillation loss, if it and the label loss are averaged by different weights.
    pub(super) taught: AccumulatedGradients,
    /// The average of the weights, if the stage uses one.
    pub(super) average: Option<EmaWeights>,
    /// The scale of the loss, if the precision needs one.
    pub(super) loss_scale: Option<LossScale>,
    /// Epochs completed.
    pub epoch: u32,
    /// Batches completed in the current epoch.
    pub batch: usize,
    /// Optimizer steps completed.
    pub step: u64,
    /// Running metric sums of the current epoch.
    pub meter: M,
    pub history: Vec<EpochRow>,
    pub tracker: BestTracker,
    pub plateau: Plateau,
    /// The names of skipped samples, which cannot be read.
    pub broken: BTreeSet<String>,
    pub best: Option<BestWeights<M>>,
}

/// A checkpoint as data: named tensors, and everything else as TOML.
pub struct TrainCheckpoint {
    pub tensors: Vec<(String, Tensor)>,
    pub position: String,
}

/// The name prefix of gradients.
const GRADIENTS: &str = "gradients";
const GRADIENTS_OF_TEACHER: &str = "gradients_of_teacher";

fn is_zero(weight: &f64) -> bool {
    *weight == 0.0
}

/// The part of a checkpoint other than tensors.
#[derive(Serialize, Deserialize)]
struct CheckpointPosition<M> {
    epoch: u32,
    batch: usize,
    step: u64,
    /// The sum of the batches' weights since the last step.
    accumulated: f64,
    #[serde(default, skip_serializing_if = "is_zero")]
    accumulated_of_teacher: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss_scale: Option<LossScale>,
    meter: M,
    history: Vec<EpochRow>,
    tracker: BestTracker,
    plateau: Plateau,
    broken: BTreeSet<String>,
    best: Option<M>,
}

impl<M: Clone + Serialize + DeserializeOwned> TrainProgress<M> {
    /// The initial state of a stage.
    pub fn start<T: TrainTask<Meter = M>>(
        context: &TrainContext<T>,
        state: StateDict,
        optimizer: Optimizer,
    ) -> Self {
        let settings = context.settings;
        let average = settings.ema.as_ref();
        let average =
            average.map(|ema| EmaWeights::start(ema, &state, &context.model.description, context.table));
        Self {
            state,
            optimizer,
            gradients: AccumulatedGradients::default(),
            taught: AccumulatedGradients::default(),
            average,
            loss_scale: LossScale::start(settings.precision),
            epoch: 0,
            batch: 0,
            step: 0,
            meter: context.task.meter(),
            history: Vec::new(),
            tracker: BestTracker::new(settings.monitor, settings.early_stop.clone()),
            plateau: Plateau::default(),
            broken: BTreeSet::new(),
            best: None,
        }
    }

    /// Applies the running statistics of a batch.
    pub(super) fn apply(&mut self, running_statistics: &BufferUpdates) -> Result<()> {
        for (id, tensor) in self.state.updated(running_statistics)? {
            self.state.tensors[id] = tensor;
        }
        Ok(())
    }

    /// The steps skipped since the last epoch of the history; `None` without a loss scale.
    pub(super) fn skipped_in_epoch(&self) -> Option<u64> {
        let before = self.history.iter().filter_map(|row| row.skipped_steps).sum::<u64>();
        Some(self.loss_scale.as_ref()?.skipped_steps - before)
    }

    /// The resulting weights: the average if there is one, else the trained weights.
    pub fn final_state(&self) -> StateDict {
        match &self.average {
            Some(average) => average.averaged(&self.state),
            None => self.state.clone(),
        }
    }

    /// Keeps the current result as the best, with its validation results. Training replaces tensors and never
    /// modifies one, so keeping references is enough.
    pub fn keep_best(&mut self, description: &Description, table: &ParameterTable, meter: M) {
        let (result, moving) = (self.final_state(), changing_tensors(description, table).into_iter());
        let tensors = moving.map(|id| (id, result.tensors[id].clone())).collect();
        self.best = Some(BestWeights { tensors, meter });
    }

    /// The weights of the best epoch, if there was a validation.
    pub fn best_state(&self) -> Option<StateDict> {
        let mut state = self.state.clone();
        for (id, tensor) in &self.best.as_ref()?.tensors {
            state.tensors[*id] = tensor.clone();
        }
        Some(state)
    }

    pub fn checkpoint(&self, description: &Description, table: &ParameterTable) -> Result<TrainCheckpoint> {
        let name = |id: TensorId| &description.tensors[id].name;
        let named =
            |part: &str, id: TensorId, tensor: &Tensor| (format!("{part}/{}", name(id)), tensor.clone());
        let moving = changing_tensors(description, table).into_iter();
        let mut tensors: Vec<(String, Tensor)> =
            moving.map(|id| named("model", id, &self.state.tensors[id])).collect();
        let best = self.best.iter().flat_map(|best| &best.tensors);
        tensors.extend(best.map(|(id, tensor)| named("best", *id, tensor)));
        let average = self.average.iter().flat_map(|average| &average.tensors);
        tensors.extend(average.map(|(id, tensor)| named("ema", *id, tensor)));
        for (part, gradients) in [(GRADIENTS, &self.gradients), (GRADIENTS_OF_TEACHER, &self.taught)] {
            tensors.extend(gradients.mean.iter().map(|(id, tensor)| named(part, *id, tensor)));
        }
        tensors.extend(
            self.optimizer.state()?.into_iter().map(|(name, tensor)| (format!("optimizer/{name}"), tensor)),
        );
        let position = toml::to_string(&CheckpointPosition {
            epoch: self.epoch,
            batch: self.batch,
            step: self.step,
            accumulated: self.gradients.weight,
            accumulated_of_teacher: self.taught.weight,
            loss_scale: self.loss_scale.clone(),
            meter: self.meter.clone(),
            history: self.history.clone(),
            tracker: self.tracker.clone(),
            plateau: self.plateau.clone(),
            broken: self.broken.clone(),
            best: self.best.as_ref().map(|best| best.meter.clone()),
        })
        .map_err(|error| Error::failed(format!("cannot write a checkpoint: {error}")))?;
        Ok(TrainCheckpoint { tensors, position })
    }

    /// Restores a checkpoint into the initial state that [`TrainProgress::start`] made from the same settings and
    /// weights.
    pub fn resume(
        &mut self,
        checkpoint: TrainCheckpoint,
        description: &Description,
        table: &ParameterTable,
    ) -> Result<()> {
        let position: CheckpointPosition<M> = toml::from_str(&checkpoint.position)
            .map_err(|error| Error::failed(format!("cannot read the checkpoint: {error}")))?;
        let mut tensors: BTreeMap<String, Tensor> = checkpoint.tensors.into_iter().collect();
        let moving = changing_tensors(description, table);
        // A checkpoint is read on the CPU and moved to the stage's device.
        let devices: Vec<Device> = self.state.tensors.iter().map(|tensor| tensor.device().clone()).collect();
        let mut take = |prefix: &str, id: TensorId| {
            let name = format!("{prefix}/{}", description.tensors[id].name);
            let tensor = tensors.remove(&name);
            let tensor = tensor.ok_or_else(|| Error::failed(format!("the checkpoint lacks `{name}`")))?;
            Ok::<Tensor, Error>(tensor.to_device(&devices[id])?)
        };
        for &id in &moving {
            self.state.tensors[id] = take("model", id)?;
        }
        self.best = match position.best {
            Some(meter) => {
                let tensors = moving.iter().map(|&id| Ok((id, take("best", id)?))).collect::<Result<_>>()?;
                Some(BestWeights { tensors, meter })
            }
            None => None,
        };
        if let Some(average) = &mut self.average {
            for (id, tensor) in &mut average.tensors {
                *tensor = take("ema", *id)?;
            }
        }
        let mut accumulated = |part: &str, weight: f64| {
            // A parameter that no batch reached has no gradient.
            let gradient = |id: &TensorId| Some((*id, take(part, *id).ok()?));
            AccumulatedGradients { mean: moving.iter().filter_map(gradient).collect(), weight }
        };
        self.gradients = accumulated(GRADIENTS, position.accumulated);
        self.taught = accumulated(GRADIENTS_OF_TEACHER, position.accumulated_of_teacher);
        let optimizer: Vec<(String, Tensor)> = tensors
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("optimizer/")?.to_owned(), tensor)))
            .collect();
        self.optimizer.begin_epoch(position.epoch)?;
        self.optimizer.restore(&optimizer)?;
        self.loss_scale = position.loss_scale;
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
pub(super) fn changing_tensors(description: &Description, table: &ParameterTable) -> Vec<TensorId> {
    let frozen: BTreeSet<TensorId> = table.frozen(description).into_iter().collect();
    (0..description.tensors.len()).filter(|id| !frozen.contains(id)).collect()
}
