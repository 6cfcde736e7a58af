//! The exponential moving average of the weights: Polyak and Juditsky 1992, in the form that timm has it.

use candle_core::Tensor;

use super::arithmetic::blend;
use crate::error::Result;
use crate::freeze::ParameterTable;
use crate::model::{Description, State, TensorId};
use crate::pipeline::Ema;

/// What trains, averaged over the optimizer steps; what is frozen has no average, since averaging would move bits.
///
/// As in timm's `ModelEma`, the running statistics of batch normalisation are averaged with the weights that they belong
/// to, and what is not a real number (the count of batches) is taken over.
pub struct Average {
    ema: Ema,
    /// In the order of the description.
    pub(super) tensors: Vec<(TensorId, Tensor)>,
}

impl Average {
    /// Begins at the weights that training begins at.
    pub fn start(ema: &Ema, state: &State, description: &Description, table: &ParameterTable) -> Self {
        let moving = super::checkpoint::moving(description, table).into_iter();
        Self { ema: ema.clone(), tensors: moving.map(|id| (id, state.tensors[id].clone())).collect() }
    }

    /// Takes in the weights after optimizer step `step`, counted from 1.
    pub fn update(&mut self, state: &State, step: u64) -> Result<()> {
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

    /// The share of the average that a step leaves. Without a warmup the beginning would weigh for 1 / (1 − decay) steps,
    /// which may be the whole stage: (1 + step) / (10 + step), as in TensorFlow's, grows with what there is to average.
    fn decay(&self, step: u64) -> f64 {
        match self.ema.warmup {
            true => self.ema.decay.min((1 + step) as f64 / (10 + step) as f64),
            false => self.ema.decay,
        }
    }

    /// The averaged weights, everything else as in `state`.
    pub fn applied_to(&self, state: &State) -> State {
        let mut state = state.clone();
        for (id, average) in &self.tensors {
            state.tensors[*id] = average.clone();
        }
        state
    }
}
