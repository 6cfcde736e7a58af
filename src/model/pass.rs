//! One run of a model over a batch: where layers find their tensors and how they compute with them.

use candle_core::Tensor;

use super::TensorId;
use crate::autograd::{Gradients, Tape, Value};
use crate::error::Result;

/// The numbers of a model: one tensor for each of its description, parameters and buffers alike.
#[derive(Clone, Debug)]
pub struct State {
    pub tensors: Vec<Tensor>,
}

/// What a batch normalisation layer does in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormMode {
    /// Normalises with running statistics, which stay as they are.
    Frozen,
    /// Normalises with the batch's statistics and proposes new running ones.
    Training,
}

/// One run of a model: inference (nothing recorded, batch norm folded into convolutions), or training.
pub struct Pass<'a> {
    state: &'a State,
    // …
}

impl<'a> Pass<'a> {
    /// Plain inference. Weights are folded and packed once per pass, so keep one pass over many batches.
    pub fn inference(state: &'a State) -> Self {
        todo!()
    }

    /// Training: `trainable[id]` says which parameters are leaves, `norms[i]` what norm `i` of the description does.
    /// Dropout draws from (seed, epoch, sample) streams, one sample index for each row of the batch.
    pub fn training(
        state: &'a State,
        trainable: &'a [bool],
        norms: &'a [NormMode],
        seed: u64,
        epoch: u32,
        samples: &[u64],
    ) -> Self {
        todo!()
    }

    /// Walks back from `loss`: the gradient of each trainable parameter (None where the loss does not depend on it),
    /// and the new values of running statistics, to be applied by the caller.
    pub fn backward(
        self,
        loss: &Value,
    ) -> Result<(Vec<(TensorId, Option<Tensor>)>, Vec<(TensorId, Tensor)>)> {
        todo!()
    }
}
