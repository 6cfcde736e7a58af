//! The optimizer: which parameters it moves, each with its own settings, and what it remembers of them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{StepHyper, UpdateRule, rule, step};
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::TensorId;
use crate::pipeline;

/// A parameter that trains.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerParameter {
    pub tensor: TensorId,
    /// The dotted name, under which its state goes into checkpoints.
    pub name: String,
    /// The learning rate that the schedule scales.
    pub lr: f64,
    pub weight_decay: f64,
    /// How many epochs are over when it joins.
    pub after_epochs: u32,
    /// Its own first steps, over which its learning rate rises linearly: (step + 1) / warmup_steps.
    pub warmup_steps: u64,
    /// Whether it is a bias, which may have a warmup of its own.
    pub is_bias: bool,
}

/// What the schedule does in one step.
#[derive(Clone, Copy, Debug)]
pub struct StepRates {
    /// The factor of learning rates.
    pub factor: f64,
    /// What starts elsewhere, during the warmup of the schedule.
    pub warmup: Option<WarmupRates>,
}

/// Rates that move from a start of their own to their full values.
#[derive(Clone, Copy, Debug)]
pub struct WarmupRates {
    /// How far the warmup has come, in (0, 1].
    pub progress: f64,
    /// The factor of learning rates at its end.
    pub full: f64,
    /// The learning rate of biases at its start.
    pub bias_lr: Option<f64>,
    /// The momentum at its start, and at its end.
    pub momentum: Option<[f64; 2]>,
}

impl From<f64> for StepRates {
    fn from(factor: f64) -> Self {
        Self { factor, warmup: None }
    }
}

impl StepRates {
    fn lr(&self, parameter: &OptimizerParameter) -> f64 {
        let of_bias = self.bias_lr(parameter.lr).filter(|_| parameter.is_bias);
        of_bias.unwrap_or(parameter.lr * self.factor)
    }

    /// The learning rate of a bias whose full rate is `lr`, during a warmup that starts elsewhere for biases.
    pub fn bias_lr(&self, lr: f64) -> Option<f64> {
        let WarmupRates { progress, full, bias_lr, .. } = self.warmup?;
        bias_lr.map(|start| start + (lr * full - start) * progress)
    }

    fn momentum(&self) -> Option<f64> {
        let WarmupRates { progress, momentum, .. } = self.warmup?;
        momentum.map(|[start, end]| start + (end - start) * progress)
    }
}

/// The parameters that train and no others, each with its state.
pub struct Optimizer {
    rule: Box<dyn UpdateRule>,
    /// Those whose epoch has not come.
    waiting: Vec<OptimizerParameter>,
    slots: BTreeMap<TensorId, ParameterState>,
}

/// One parameter and its memory, which begins with its first gradient.
struct ParameterState {
    parameter: OptimizerParameter,
    steps: u64,
    shape: Vec<usize>,
    /// In the order of [`UpdateRule::buffers`].
    buffers: Vec<Tensor>,
}

impl Optimizer {
    /// Over the parameters that a table lets train, at its rates.
    pub fn for_table(
        kind: &pipeline::Optimizer,
        table: &ParameterTable,
        steps_per_epoch: u64,
    ) -> Result<Self> {
        let parameters = table.rows.iter().filter_map(|row| {
            Some(OptimizerParameter {
                tensor: row.id,
                name: row.name.clone(),
                lr: row.lr?,
                weight_decay: row.weight_decay?,
                after_epochs: row.after_epochs,
                warmup_steps: (row.warmup_epochs * steps_per_epoch as f64).round() as u64,
                is_bias: row.is_bias,
            })
        });
        Self::new(kind, parameters)
    }

    /// The learning rate and weight decay of `kind` itself are not looked at: `parameters` has them resolved.
    pub fn new(
        kind: &pipeline::Optimizer,
        parameters: impl IntoIterator<Item = OptimizerParameter>,
    ) -> Result<Self> {
        let waiting = parameters.into_iter().collect();
        let mut optimizer = Self { rule: rule(kind), waiting, slots: BTreeMap::new() };
        optimizer.begin_epoch(0)?;
        Ok(optimizer)
    }

    /// Lets those join whose epoch it is, counted from 0. The others keep what is remembered of them.
    pub fn begin_epoch(&mut self, epoch: u32) -> Result<()> {
        let (joining, waiting): (Vec<OptimizerParameter>, Vec<OptimizerParameter>) =
            self.waiting.drain(..).partition(|parameter| parameter.after_epochs <= epoch);
        self.waiting = waiting;
        joining.into_iter().try_for_each(|parameter| self.add_parameter(parameter))
    }

    /// Whether some parameter has yet to make its first step.
    pub fn has_unstarted_parameters(&self) -> bool {
        self.slots.values().any(|slot| slot.steps == 0)
    }

    /// Adds a parameter: its state is fresh, and its steps count from its own first.
    pub(super) fn add_parameter(&mut self, parameter: OptimizerParameter) -> Result<()> {
        let name = parameter.name.clone();
        let slot = ParameterState { parameter, steps: 0, shape: Vec::new(), buffers: Vec::new() };
        match self.slots.insert(slot.parameter.tensor, slot) {
            None => Ok(()),
            Some(_) => Err(Error::bug(format!("`{name}` is in the optimizer twice"))),
        }
    }

    /// One step: replaces each of `tensors` that has a gradient. One without a gradient stays, and its steps do not count.
    ///
    /// `rates` are the schedule's. Tensors are replaced, not changed, so clones of them are snapshots.
    pub fn step(
        &mut self,
        tensors: &mut [Tensor],
        gradients: &[(TensorId, Option<Tensor>)],
        rates: impl Into<StepRates>,
    ) -> Result<()> {
        let rates = rates.into();
        for (id, gradient) in gradients {
            let Some(gradient) = gradient else { continue };
            let (Some(slot), Some(value)) = (self.slots.get_mut(id), tensors.get_mut(*id)) else {
                return Err(Error::bug(format!("tensor {id} has a gradient but does not train")));
            };
            *value = slot
                .update(&*self.rule, value, gradient, &rates)
                .map_err(|error| error.within(format_args!("parameter `{}`", slot.parameter.name)))?;
        }
        Ok(())
    }

    /// All that the optimizer remembers, as tensors named `PARAMETER.step`, `PARAMETER.exp_avg` and so on.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for slot in self.slots.values().filter(|slot| slot.steps > 0) {
            let name = &slot.parameter.name;
            state.push((format!("{name}.step"), Tensor::new(slot.steps as i64, &Device::Cpu)?));
            for (field, buffer) in self.rule.buffers().iter().zip(&slot.buffers) {
                // They change in place, so what is handed out must be a copy.
                state.push((format!("{name}.{field}"), buffer.to_device(&Device::Cpu)?.copy()?));
            }
        }
        Ok(state)
    }

    /// Takes up where [`Self::state`] was taken: parameters not in it start afresh, names not in the optimizer are an
    /// error, as is an incomplete state.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let mut state: BTreeMap<&str, &Tensor> =
            state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for slot in self.slots.values_mut() {
            let name = &slot.parameter.name;
            (slot.steps, slot.buffers) = (0, Vec::new());
            let Some(steps) = state.remove(format!("{name}.step").as_str()) else { continue };
            slot.steps = u64::try_from(steps.to_scalar::<i64>()?)
                .map_err(|_| Error::failed(format!("the optimizer state of `{name}` has a negative step")))?;
            for field in self.rule.buffers() {
                let buffer = state
                    .remove(format!("{name}.{field}").as_str())
                    .ok_or_else(|| Error::failed(format!("the optimizer state has no `{name}.{field}`")))?;
                slot.shape = buffer.dims().to_vec();
                slot.buffers.push(buffer.copy()?);
            }
        }
        match state.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Error::failed(format!("the optimizer has no parameter for the state `{name}`")))
            }
        }
    }
}

impl ParameterState {
    fn update(
        &mut self,
        rule: &dyn UpdateRule,
        value: &Tensor,
        gradient: &Tensor,
        rates: &StepRates,
    ) -> Result<Tensor> {
        if self.steps == 0 {
            self.shape = value.dims().to_vec();
            self.buffers = rule.buffers().iter().map(|_| Ok(value.zeros_like()?)).collect::<Result<_>>()?;
        }
        if !self.buffers.is_empty() && self.shape != value.dims() {
            let (state, value) = (&self.shape, value.dims());
            return Err(Error::failed(format!(
                "the optimizer state has shape {state:?}, the parameter {value:?}"
            )));
        }
        for buffer in &mut self.buffers {
            // A restored one comes from the CPU.
            if !buffer.device().same_device(value.device()) {
                *buffer = buffer.to_device(value.device())?;
            }
        }
        let OptimizerParameter { weight_decay, warmup_steps, .. } = self.parameter;
        let warmup =
            if self.steps < warmup_steps { (self.steps + 1) as f64 / warmup_steps as f64 } else { 1.0 };
        let lr = rates.lr(&self.parameter) * warmup;
        let pace = StepHyper { step: self.steps + 1, lr, weight_decay, momentum: rates.momentum() };
        let changed = step(rule, value, gradient, &self.buffers, pace)?;
        self.steps += 1;
        Ok(changed)
    }
}
