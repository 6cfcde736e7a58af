//! One run of a model over a batch: where layers find their tensors and how they compute with them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::Tensor;

use super::TensorId;
use super::layers::{BatchNorm2d, Conv2d, Linear};
use crate::autograd::{Tape, Value};
use crate::error::Result;
use crate::ops::{self, Activation, FoldedConv, FoldedNorm, Window};
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
    /// By weight and padding, which for some convolutions follows the size of the image.
    folded: BTreeMap<(TensorId, [usize; 4]), FoldedConv>,
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
        Self { state, training: None, tape: Tape::new(), leaves: BTreeMap::new(), buffers: Vec::new(), folded: BTreeMap::new() }
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
        let (_, height, width, _) = x.tensor().dims4()?;
        let window = conv.window(height, width);
        let mode = self.training.as_ref().map_or(NormMode::Frozen, |training| training.norms[norm.index]);
        let trains = |id: TensorId| self.training.as_ref().is_some_and(|training| training.trainable[id]);
        let parameters = [conv.weight, norm.spec.weight, norm.spec.bias];
        let constant = x.is_constant() && residual.is_none_or(Value::is_constant);
        if mode == NormMode::Frozen && constant && !parameters.into_iter().any(trains) {
            let folded = self.folded(conv, norm, window)?;
            let residual = residual.map(Value::tensor);
            return Ok(Value::constant(folded.forward(x.tensor(), activation, residual)?));
        }
        let [weight, scale, shift] = parameters.map(|id| self.parameter(id));
        let y = ops::conv2d(&mut self.tape, x, &weight, None, window, conv.groups)?;
        let spec = &norm.spec;
        let (mean, variance) = (&self.state.tensors[spec.running_mean], &self.state.tensors[spec.running_var]);
        match mode {
            NormMode::Frozen => ops::batch_norm_frozen(
                &mut self.tape,
                &y,
                &scale,
                &shift,
                mean,
                variance,
                norm.eps,
                activation,
                residual,
            ),
            NormMode::Training => {
                let (y, batch) = ops::batch_norm_training(
                    &mut self.tape,
                    &y,
                    &scale,
                    &shift,
                    norm.eps,
                    activation,
                    residual,
                )?;
                let moved = |running: &Tensor, batch: &Tensor| -> Result<Tensor> {
                    Ok(((running * (1.0 - norm.momentum))? + (batch * norm.momentum)?)?)
                };
                let count = (&self.state.tensors[spec.batch_count] + 1.0)?;
                self.buffers.extend([
                    (spec.running_mean, moved(mean, &batch.mean)?),
                    (spec.running_var, moved(variance, &batch.variance)?),
                    (spec.batch_count, count),
                ]);
                Ok(y)
            }
        }
    }

    /// The convolution with its normalisation folded in, made once per pass and image size.
    fn folded(&mut self, conv: &Conv2d, norm: &BatchNorm2d, window: Window) -> Result<&FoldedConv> {
        let tensors = &self.state.tensors;
        Ok(match self.folded.entry((conv.weight, window.padding)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let folded = FoldedNorm {
                    weight: &tensors[norm.spec.weight],
                    bias: &tensors[norm.spec.bias],
                    mean: &tensors[norm.spec.running_mean],
                    variance: &tensors[norm.spec.running_var],
                    eps: norm.eps,
                };
                entry.insert(FoldedConv::new(&tensors[conv.weight], Some(folded), None, window, conv.groups)?)
            }
        })
    }

    pub(super) fn linear(&mut self, linear: &Linear, x: &Value) -> Result<Value> {
        let (weight, bias) = (self.parameter(linear.weight), self.parameter(linear.bias));
        ops::linear(&mut self.tape, x, &weight, Some(&bias))
    }

    pub(super) fn max_pool2d(&mut self, x: &Value, window: Window) -> Result<Value> {
        ops::max_pool2d(&mut self.tape, x, window)
    }

    /// [N, H, W, C] to [N, C].
    pub(super) fn global_average_pool(&mut self, x: &Value) -> Result<Value> {
        ops::global_average_pool(&mut self.tape, x)
    }

    /// Nothing in inference.
    pub(super) fn dropout(&mut self, x: Value, p: f64) -> Result<Value> {
        match &mut self.training {
            Some(training) if p > 0.0 => ops::dropout(&mut self.tape, &x, p, &mut training.dropout),
            _ => Ok(x),
        }
    }

    fn parameter(&mut self, id: TensorId) -> Value {
        let tensor = &self.state.tensors[id];
        if !self.training.as_ref().is_some_and(|training| training.trainable[id]) {
            return Value::constant(tensor.clone());
        }
        self.leaves.entry(id).or_insert_with(|| self.tape.leaf(tensor.clone())).clone()
    }
}
