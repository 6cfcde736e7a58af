//! One run of a model over a batch: where layers find their tensors and how they compute with them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{DType, Device, Tensor};

use super::TensorId;
use super::layers::{Attention, BatchNorm, BiasedConv2d, Conv2d, Dense, LayerNorm, Linear};
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};
use crate::ops::{self, Activation, Awake, BatchStatistics, FoldedConv, FoldedNorm, Window};
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

/// The gradient of each trainable parameter, in the order of the description.
pub type ParameterGradients = Vec<(TensorId, Option<Tensor>)>;

/// New values of running statistics.
pub type BufferUpdates = Vec<(TensorId, Tensor)>;

/// One run of a model: inference (nothing recorded, batch norm folded into convolutions), or training.
///
/// In training, a convolution whose input, weights and normalisation are all constant computes as in inference, with
/// the same bits: a frozen prefix costs plain inference, and its features may be cached.
pub struct Pass<'a> {
    state: &'a State,
    training: Option<Training<'a>>,
    tape: Tape,
    leaves: BTreeMap<TensorId, Value>,
    /// By weight and padding, which follows the image where it is `SAME`.
    folded: BTreeMap<(TensorId, [usize; 4]), FoldedConv>,
    buffers: Vec<(TensorId, Tensor)>,
    multiply_adds: u64,
    activations_moved: u64,
}

struct Training<'a> {
    trainable: &'a [bool],
    norms: &'a [NormMode],
    /// One for each row of the batch; a second dropout layer draws on where the first stopped.
    dropout: Vec<Stream>,
    /// The same for the blocks that are left out.
    stochastic_depth: Vec<Stream>,
}

impl State {
    /// The same numbers on a device to compute on. Counts of batches stay where they are: nothing is computed with them.
    pub fn on(&self, device: &Device) -> Result<Self> {
        let place = |tensor: &Tensor| match tensor.dtype() {
            DType::I64 => Ok(tensor.clone()),
            _ => Ok(tensor.to_device(device)?),
        };
        Ok(Self { tensors: self.tensors.iter().map(place).collect::<Result<_>>()? })
    }
}

impl<'a> Pass<'a> {
    /// Plain inference. Weights are folded and packed once per pass, so keep one pass over many batches.
    pub fn inference(state: &'a State) -> Self {
        Self {
            state,
            training: None,
            tape: Tape::new(),
            leaves: BTreeMap::new(),
            folded: BTreeMap::new(),
            buffers: Vec::new(),
            multiply_adds: 0,
            activations_moved: 0,
        }
    }

    /// Training: `trainable[id]` says which parameters are leaves, `norms[i]` what norm `i` of the description does.
    /// Dropout and stochastic depth draw from (seed, epoch, sample) streams, one sample index for each row of the batch.
    pub fn training(
        state: &'a State,
        trainable: &'a [bool],
        norms: &'a [NormMode],
        seed: u64,
        epoch: u32,
        samples: &[u64],
    ) -> Self {
        let streams = |purpose| -> Vec<Stream> {
            samples.iter().map(|&sample| Stream::new(seed, purpose, epoch, sample)).collect()
        };
        let (dropout, stochastic_depth) = (streams(Purpose::Dropout), streams(Purpose::StochasticDepth));
        let training = Training { trainable, norms, dropout, stochastic_depth };
        Self { training: Some(training), ..Self::inference(state) }
    }

    #[cfg(feature = "cuda")]
    pub(super) fn is_inference(&self) -> bool {
        self.training.is_none()
    }

    /// The tape, to put a loss on.
    pub fn tape(&mut self) -> &mut Tape {
        &mut self.tape
    }

    /// The products that convolutions and linear layers have summed so far, and those that the walk back will: as many
    /// again for each gradient that is wanted, of weights and of inputs.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// The numbers of activations and of their gradients that convolutions, linear layers and normalisations read and write
    /// in passes of their own, at the least: weights, and what caches spare, are left out. Backward included, as above.
    pub fn activations_moved(&self) -> u64 {
        self.activations_moved
    }

    /// Walks back from `loss`: the gradient of each trainable parameter (None where the loss does not depend on it),
    /// and the new values of running statistics, to be applied by the caller.
    pub fn backward(self, loss: &Value) -> Result<(ParameterGradients, BufferUpdates)> {
        let _awake = loss.tensor().device().is_cpu().then(Awake::new);
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
        norm: &BatchNorm,
        activation: Activation,
        x: &Value,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let (_, height, width, _) = x.tensor().dims4()?;
        let window = conv.window(height, width);
        let weight = self.parameter(conv.weight);
        self.count(&weight, x, window.outputs([height, width]).iter().product());
        if self.is_plain(conv, norm, x) {
            return self.folded(conv, norm, window, activation, x, residual);
        }
        let y = ops::conv2d(&mut self.tape, x, &weight, None, window, conv.groups)?;
        self.norm(norm, activation, &y, residual)
    }

    /// y = norm(x), on [N, C].
    pub(super) fn batch_norm(&mut self, norm: &BatchNorm, x: &Value) -> Result<Value> {
        self.norm(norm, Activation::None, x, None)
    }

    fn norm(
        &mut self,
        norm: &BatchNorm,
        activation: Activation,
        x: &Value,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let scale = self.parameter(norm.spec.weight);
        let shift = self.parameter(norm.spec.bias);
        let frozen = self.norm_mode(norm) == NormMode::Frozen;
        let constant = [x, &scale, &shift].iter().all(|value| value.is_constant());
        // Statistics of a batch, and those of its gradients, take a pass over the numbers ahead of the one that uses them.
        let passes = match (frozen, constant) {
            (true, true) => 2,
            (true, false) => 2 + 3,
            (false, true) => 3,
            (false, false) => 3 + 5,
        };
        self.activations_moved += (passes * x.tensor().elem_count()) as u64;
        if frozen {
            let mean = &self.state.tensors[norm.spec.running_mean];
            let variance = &self.state.tensors[norm.spec.running_var];
            let tape = &mut self.tape;
            return ops::batch_norm_frozen(
                tape, x, &scale, &shift, mean, variance, norm.eps, activation, residual,
            );
        }
        let tape = &mut self.tape;
        let (y, statistics) =
            ops::batch_norm_training(tape, x, &scale, &shift, norm.eps, activation, residual)?;
        self.propose(norm, statistics)?;
        Ok(y)
    }

    /// The end of a residual block: norm(conv(x)), in training left out of some images with probability `p`, + shortcut.
    pub(super) fn conv_norm_residual(
        &mut self,
        conv: &Conv2d,
        norm: &BatchNorm,
        x: &Value,
        shortcut: &Value,
        p: f64,
    ) -> Result<Value> {
        if p == 0.0 || self.training.is_none() || self.is_plain(conv, norm, x) {
            return self.conv_norm(conv, norm, Activation::None, x, Some(shortcut));
        }
        let branch = self.conv_norm(conv, norm, Activation::None, x, None)?;
        let branch = self.stochastic_depth(branch, p)?;
        ops::add(&mut self.tape, &branch, shortcut)
    }

    pub(super) fn linear(&mut self, linear: &Linear, x: &Value) -> Result<Value> {
        let weight = self.parameter(linear.weight);
        let bias = linear.bias.map(|bias| self.parameter(bias));
        self.count(&weight, x, 1);
        ops::linear(&mut self.tape, x, &weight, bias.as_ref())
    }

    /// The products of x with the directions of a layer's rows: their cosines, times the lengths of x.
    pub(super) fn cosines(&mut self, directions: &Linear, x: &Value) -> Result<Value> {
        let weight = self.parameter(directions.weight);
        self.count(&weight, x, 1);
        let weight = ops::normalize_rows(&mut self.tape, &weight, 1.0)?;
        ops::linear(&mut self.tape, x, &weight, None)
    }

    /// Scales each row of [N, C] to a length.
    pub(super) fn normalize_rows(&mut self, x: &Value, length: f64) -> Result<Value> {
        ops::normalize_rows(&mut self.tape, x, length)
    }

    /// A convolution with bias, on [N, H, W, C].
    pub(super) fn conv(&mut self, conv: &BiasedConv2d, x: &Value) -> Result<Value> {
        let BiasedConv2d { conv, bias } = conv;
        let (_, height, width, _) = x.tensor().dims4()?;
        let window = conv.window(height, width);
        let (weight, bias) = (self.parameter(conv.weight), self.parameter(*bias));
        self.count(&weight, x, window.outputs([height, width]).iter().product());
        if [x, &weight, &bias].iter().all(|value| value.is_constant()) {
            let key = (conv.weight, window.padding);
            let fold = || FoldedConv::new(weight.tensor(), None, Some(bias.tensor()), window, conv.groups);
            let folded = kept(&mut self.folded, key, fold)?;
            return Ok(Value::constant(folded.forward(x.tensor(), Activation::None, None)?));
        }
        ops::conv2d(&mut self.tape, x, &weight, Some(&bias), window, conv.groups)
    }

    /// activation(dense(x) + residual) of every pixel or token: [.., in] to [.., out].
    pub(super) fn pointwise(
        &mut self,
        dense: &Dense,
        x: &Value,
        activation: Activation,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let (weight, bias) = (self.parameter(dense.weight), self.parameter(dense.bias));
        let (rows, inputs) = x.tensor().flatten_to(candle_core::D::Minus2)?.dims2()?;
        self.count(&weight, x, rows / x.tensor().dim(0)?.max(1));
        let constant = [x, &weight, &bias].iter().all(|value| value.is_constant());
        if !constant || residual.is_some_and(|residual| !residual.is_constant()) {
            let y = ops::pointwise(&mut self.tape, x, &weight, &bias, residual)?;
            return ops::activation(&mut self.tape, &y, activation);
        }
        // A convolution of one pixel, over one line.
        let outputs = weight.tensor().dim(0)?;
        let window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };
        let fold = || {
            let weight = weight.tensor().reshape((outputs, inputs, 1, 1))?;
            FoldedConv::new(&weight, None, Some(bias.tensor()), window, 1)
        };
        let folded = kept(&mut self.folded, (dense.weight, window.padding), fold)?;
        let line = |tensor: &Tensor, width: usize| tensor.reshape((1, 1, rows, width));
        let residual = residual.map(|residual| line(residual.tensor(), outputs)).transpose()?;
        let y = folded.forward(&line(x.tensor(), inputs)?, activation, residual.as_ref())?;
        let mut shape = x.tensor().dims().to_vec();
        shape.pop();
        shape.push(outputs);
        Ok(Value::constant(y.reshape(shape)?))
    }

    pub(super) fn layer_norm(&mut self, norm: &LayerNorm, x: &Value) -> Result<Value> {
        let (weight, bias) = (self.parameter(norm.weight), self.parameter(norm.bias));
        ops::layer_norm(&mut self.tape, x, &weight, &bias, norm.eps)
    }

    /// The heads of self-attention side by side, [N, T, C], before they are mixed.
    pub(super) fn attention(&mut self, attention: &Attention, x: &Value) -> Result<Value> {
        let x = self.pointwise(&attention.input, x, Activation::None, None)?;
        let (images, tokens, width) = x.tensor().dims3()?;
        // Each token meets each, once as query and key and once as probability and value.
        let products = images * 2 * tokens * tokens * width / 3;
        self.multiply_adds += (products * if x.is_constant() { 1 } else { 3 }) as u64;
        ops::attention(&mut self.tape, &x, attention.heads)
    }

    /// residual + gain · x; in training the share `left_out` of images keep the residual alone. What does not train is
    /// never left out.
    pub(super) fn layer_scale(
        &mut self,
        x: &Value,
        gain: TensorId,
        residual: &Value,
        left_out: f64,
    ) -> Result<Value> {
        let gain = self.parameter(gain);
        let frozen = x.is_constant() && gain.is_constant();
        let x = if frozen { x.clone() } else { self.stochastic_depth(x.clone(), left_out)? };
        ops::layer_scale(&mut self.tape, &x, &gain, residual)
    }

    /// Patches behind a class token, each with its position.
    pub(super) fn tokens(
        &mut self,
        patches: &Value,
        class_token: &Value,
        positions: &Value,
    ) -> Result<Value> {
        ops::tokens(&mut self.tape, patches, class_token, positions)
    }

    /// [N, T, C] to [N, C].
    pub(super) fn first_token(&mut self, x: &Value) -> Result<Value> {
        ops::first_token(&mut self.tape, x)
    }

    pub(super) fn max_pool2d(&mut self, x: &Value, window: Window) -> Result<Value> {
        ops::max_pool2d(&mut self.tape, x, window)
    }

    /// [N, H, W, C] to [N, C].
    pub(super) fn global_average_pool(&mut self, x: &Value) -> Result<Value> {
        ops::global_average_pool(&mut self.tape, x)
    }

    pub(super) fn activation(&mut self, x: &Value, activation: Activation) -> Result<Value> {
        ops::activation(&mut self.tape, x, activation)
    }

    /// [N, H, W, C] times [N, C].
    pub(super) fn scale_channels(&mut self, x: &Value, scale: &Value) -> Result<Value> {
        ops::scale_channels(&mut self.tape, x, scale)
    }

    /// Nothing in inference.
    pub(super) fn dropout(&mut self, x: Value, p: f64) -> Result<Value> {
        match &mut self.training {
            Some(training) if p > 0.0 => ops::dropout(&mut self.tape, &x, p, &mut training.dropout),
            _ => Ok(x),
        }
    }

    /// Leaves the branch of a residual block out of some images of the batch, with probability `p`.
    ///
    /// Nothing in inference, nor for a branch in and below which nothing trains: the features of frozen layers are no
    /// matter of chance, whether they are kept or computed anew.
    pub(super) fn stochastic_depth(&mut self, branch: Value, p: f64) -> Result<Value> {
        match &mut self.training {
            Some(training) if p > 0.0 && !branch.is_constant() => {
                ops::stochastic_depth(&mut self.tape, &branch, p, &mut training.stochastic_depth)
            }
            _ => Ok(branch),
        }
    }

    fn norm_mode(&self, norm: &BatchNorm) -> NormMode {
        self.training.as_ref().map_or(NormMode::Frozen, |training| training.norms[norm.index])
    }

    /// Whether a convolution and its normalisation compute as in inference: nothing in or below them trains.
    fn is_plain(&self, conv: &Conv2d, norm: &BatchNorm, x: &Value) -> bool {
        let trains = |id: &TensorId| self.training.as_ref().is_some_and(|training| training.trainable[*id]);
        let parameters = [conv.weight, norm.spec.weight, norm.spec.bias];
        self.norm_mode(norm) == NormMode::Frozen && x.is_constant() && !parameters.iter().any(trains)
    }

    /// Counts a layer in which every weight meets the input at `places` of each image.
    fn count(&mut self, weight: &Value, x: &Value, places: usize) {
        let images = x.tensor().dims().first().copied().unwrap_or(0);
        let products = images * places * weight.tensor().elem_count();
        let passes = 1 + [weight, x].iter().filter(|value| !value.is_constant()).count();
        let outputs = images * places * weight.tensor().dims().first().copied().unwrap_or(1);
        self.multiply_adds += (products * passes) as u64;
        self.activations_moved += ((x.tensor().elem_count() + outputs) * passes) as u64;
    }

    /// Counts products that are not of a layer above.
    pub(super) fn count_products(&mut self, products: usize) {
        self.multiply_adds += products as u64;
    }

    /// The numbers of a parameter for a computation that has no gradient.
    ///
    /// # Errors
    /// The parameter is to train: plans refuse that, since [`Arch::is_encoder`](crate::pipeline::Arch::is_encoder).
    pub(super) fn frozen(&self, id: TensorId) -> Result<&'a Tensor> {
        if self.training.as_ref().is_some_and(|training| training.trainable[id]) {
            return Err(Error::failed("internal: a parameter of an encoder without gradients is to train"));
        }
        Ok(&self.state.tensors[id])
    }

    pub(super) fn parameter(&mut self, id: TensorId) -> Value {
        let tensor = &self.state.tensors[id];
        if !self.training.as_ref().is_some_and(|training| training.trainable[id]) {
            return Value::constant(tensor.clone());
        }
        self.leaves.entry(id).or_insert_with(|| self.tape.leaf(tensor.clone())).clone()
    }

    /// The path of inference: one convolution with the normalisation folded in. A residual that leads to a leaf is
    /// added on the tape.
    fn folded(
        &mut self,
        conv: &Conv2d,
        norm: &BatchNorm,
        window: Window,
        activation: Activation,
        x: &Value,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let key = (conv.weight, window.padding);
        if !self.folded.contains_key(&key) {
            let tensor = |id: TensorId| &self.state.tensors[id];
            let spec = &norm.spec;
            let norm = FoldedNorm {
                weight: tensor(spec.weight),
                bias: tensor(spec.bias),
                mean: tensor(spec.running_mean),
                variance: tensor(spec.running_var),
                eps: norm.eps,
            };
            let folded = FoldedConv::new(tensor(conv.weight), Some(norm), None, window, conv.groups)?;
            self.folded.insert(key, folded);
        }
        let folded = &self.folded[&key];
        match residual.filter(|residual| !residual.is_constant()) {
            None => {
                let residual = residual.map(Value::tensor);
                Ok(Value::constant(folded.forward(x.tensor(), activation, residual)?))
            }
            Some(residual) => {
                let y = Value::constant(folded.forward(x.tensor(), Activation::None, None)?);
                let sum = ops::add(&mut self.tape, &y, residual)?;
                ops::activation(&mut self.tape, &sum, activation)
            }
        }
    }

    /// The running statistics after this batch: PyTorch's update, with the unbiased variance.
    fn propose(&mut self, norm: &BatchNorm, statistics: BatchStatistics) -> Result<()> {
        let moved = |running: TensorId, batch: Tensor| -> Result<(TensorId, Tensor)> {
            let tensor = &self.state.tensors[running];
            Ok((running, ops::running_statistic(tensor, &batch, norm.momentum)?))
        };
        let mean = moved(norm.spec.running_mean, statistics.mean)?;
        let variance = moved(norm.spec.running_var, statistics.variance)?;
        let count = &self.state.tensors[norm.spec.batch_count];
        let count = (norm.spec.batch_count, (count + count.ones_like()?)?);
        self.buffers.extend([mean, variance, count]);
        Ok(())
    }
}

/// What is kept under a key, made once.
fn kept<K: Ord, V>(all: &mut BTreeMap<K, V>, key: K, make: impl FnOnce() -> Result<V>) -> Result<&V> {
    Ok(match all.entry(key) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => place.insert(make()?),
    })
}
