//! The exponential moving average (EMA) of the weights: Polyak and Juditsky 1992, in timm's form.

use candle_core::Tensor;

use super::arithmetic::blend;
use crate::error::Result;
use crate::freeze::ParameterTable;
use crate::model::{Description, StateDict, TensorId};
use crate::pipeline::Ema;

/// The average of the trainable weights over optimizer steps. Frozen weights have no average, because averaging
/// would change their bits.
///
/// As in timm's `ModelEma`, the running statistics of trained batch normalization are averaged too, and values
/// that are not floats (batch counts) are copied.
pub struct EmaWeights {
    ema: Ema,
    /// In the order of the description.
    pub(super) tensors: Vec<(TensorId, Tensor)>,
}

impl EmaWeights {
    /// Starts at the initial weights.
    pub fn start(ema: &Ema, state: &StateDict, description: &Description, table: &ParameterTable) -> Self {
        let moving = super::checkpoint::changing_tensors(description, table).into_iter();
        Self { ema: ema.clone(), tensors: moving.map(|id| (id, state.tensors[id].clone())).collect() }
    }

    /// Includes the weights after optimizer step `step`, counted from 1.
    pub fn update(&mut self, state: &StateDict, step: u64) -> Result<()> {
        let share = 1.0 - self.decay(step);
        for (id, average) in &mut self.tensors {
            let present = &state.tensors[*id];
            *average = match present.dtype().is_float() {
                true => blend(average, present, share)?,
                false => present.clone(),
            };
        }
        Ok(())
    }

    /// The decay of a step. Without a warmup the initial weights would dominate for 1 / (1 − decay) steps,
    /// perhaps the whole stage; so it is at most (1 + step) / (10 + step), as in TensorFlow, or grows over a time constant.
    fn decay(&self, step: u64) -> f64 {
        if let Some(steps) = self.ema.time_constant {
            return self.ema.decay * (1.0 - libm::exp(-(step as f64) / steps));
        }
        match self.ema.warmup {
            true => self.ema.decay.min((1 + step) as f64 / (10 + step) as f64),
            false => self.ema.decay,
        }
    }

    /// The averaged weights, with everything else from `state`.
    pub fn averaged(&self, state: &StateDict) -> StateDict {
        let mut state = state.clone();
        for (id, average) in &self.tensors {
            state.tensors[*id] = average.clone();
        }
        state
    }
}
