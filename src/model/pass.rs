//! One run of a model over a batch: where layers find their tensors and how they compute with them.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::TensorId;
use super::layers::{BatchNorm2d, Conv2d, Linear};
use crate::autograd::{Tape, Value};
use crate::error::Result;
use crate::ops::{Activation, Window};
use crate::random::{Purpose, Stream};

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
///
/// In training, a convolution whose input, weights and normalisation are all constant computes as in inference, with
/// the same bits: a frozen prefix costs plain inference, and its features may be cached.
pub struct Pass<'a> {
    state: &'a State,
    training: Option<Training<'a>>,
    tape: Tape,
    leaves: BTreeMap<TensorId, Value>,
    buffers: Vec<(TensorId, Tensor)>,
}

struct Training<'a> {
    trainable: &'a [bool],
    norms: &'a [NormMode],
    /// One for each row of the batch; a second dropout layer draws on where the first stopped.
    dropout: Vec<Stream>,
}

impl<'a> Pass<'a> {
    /// Plain inference. Weights are folded and packed once per pass, so keep one pass over many batches.
    pub fn inference(state: &'a State) -> Self {
        Self { state, training: None, tape: Tape::new(), leaves: BTreeMap::new(), buffers: Vec::new() }
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
        let stream = |&sample| Stream::new(seed, Purpose::Dropout, epoch, sample);
        let dropout = samples.iter().map(stream).collect();
        Self { training: Some(Training { trainable, norms, dropout }), ..Self::inference(state) }
    }

    /// The tape, to put a loss on.
    pub fn tape(&mut self) -> &mut Tape {
        &mut self.tape
    }

    /// Walks back from `loss`: the gradient of each trainable parameter (None where the loss does not depend on it),
    /// and the new values of running statistics, to be applied by the caller.
    pub fn backward(
        self,
        loss: &Value,
    ) -> Result<(Vec<(TensorId, Option<Tensor>)>, Vec<(TensorId, Tensor)>)> {
        let mut gradients = self.tape.backward(loss)?;
        let trainable = self.training.map_or(&[][..], |training| training.trainable);
        let gradients = (0..trainable.len())
            .filter(|&id| trainable[id])
            .map(|id| (id, self.leaves.get(&id).and_then(|leaf| gradients.take(leaf))))
            .collect();
        Ok((gradients, self.buffers))
    }

    /// y = activation(norm(conv(x)) + residual), on [N, H, W, C].
    pub(super) fn conv_norm(
        &mut self,
        conv: &Conv2d,
        norm: &BatchNorm2d,
        activation: Activation,
        x: &Value,
        residual: Option<&Value>,
    ) -> Result<Value> {
        todo!()
    }

    pub(super) fn linear(&mut self, linear: &Linear, x: &Value) -> Result<Value> {
        todo!()
    }

    pub(super) fn max_pool2d(&mut self, x: &Value, window: Window) -> Result<Value> {
        todo!()
    }

    /// [N, H, W, C] to [N, C].
    pub(super) fn global_average_pool(&mut self, x: &Value) -> Result<Value> {
        todo!()
    }

    /// Nothing in inference.
    pub(super) fn dropout(&mut self, x: Value, p: f64) -> Result<Value> {
        todo!()
    }

    fn parameter(&mut self, id: TensorId) -> Value {
        let tensor = &self.state.tensors[id];
        if !self.training.as_ref().is_some_and(|training| training.trainable[id]) {
            return Value::constant(tensor.clone());
        }
        self.leaves.entry(id).or_insert_with(|| self.tape.leaf(tensor.clone())).clone()
    }
}
