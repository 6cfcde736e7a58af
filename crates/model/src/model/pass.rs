//! One forward pass of a model over a batch: provides tensors to layers, and counts their work.

mod adapted;
mod convolutions;
mod explained;
mod layers;
mod measured;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use self::explained::Explained;
use self::measured::Measurement;
use super::TensorId;
use super::adapter::{AdaptedLayer, Adapters};
use super::trace::{Trace, TracedOperation};
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};
use crate::ops::{self, FoldedConv, SpinGuard};
use crate::random::{Purpose, Stream};

pub(super) use self::measured::Measured;

/// The values of a model: one tensor for each of its description, parameters and buffers alike.
#[derive(Clone, Debug)]
pub struct StateDict {
    pub tensors: Vec<Tensor>,
}

/// The mode of a batch normalization layer in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormMode {
    /// Normalizes with running statistics, which do not change.
    Frozen,
    /// Normalizes with the batch's statistics, and returns changes of running statistics.
    Training,
}

/// The gradient of each trainable parameter, in the order of the description.
pub type ParameterGradients = Vec<(TensorId, Option<Tensor>)>;

/// Changes of running statistics, for the caller to apply.
pub type BufferUpdates = Vec<(TensorId, BufferChange)>;

/// What a batch does to a running statistic. It does not depend on the statistic's present value, so that batches can
/// be computed at the same time and applied in order.
#[derive(Clone, Debug)]
pub enum BufferChange {
    /// The average moves towards the statistic of the batch.
    Average { batch: Tensor, momentum: f64 },
    /// One more batch was seen.
    Count,
}

impl BufferChange {
    /// The value after the change.
    pub fn of(&self, present: &Tensor) -> Result<Tensor> {
        match self {
            Self::Average { batch, momentum } => ops::update_running_statistic(present, batch, *momentum),
            Self::Count => Ok((present + present.ones_like()?)?),
        }
    }
}

/// One forward pass of a model: inference (nothing recorded, batch norm folded into convolutions), or training.
///
/// In training, a convolution with constant input, weights and normalization computes as in inference, with the
/// same bits. A frozen prefix therefore costs only inference, and its features may be cached.
pub struct Pass<'a> {
    state: &'a StateDict,
    training: Option<TrainingPass<'a>>,
    /// Convolutions that inference measures.
    measurement: Option<Measurement>,
    /// The last feature map, for explanations.
    explained: Option<Explained>,
    /// What was computed, if it is recorded.
    trace: Option<Trace>,
    tape: Tape,
    leaves: BTreeMap<TensorId, Value>,
    /// By weight and padding, which depends on the image with `SAME`.
    folded: BTreeMap<(TensorId, [usize; 4]), FoldedConv>,
    /// Those of the model.
    adapters: Arc<Adapters>,
    /// The weights with their adapters, by id.
    merged: BTreeMap<TensorId, Tensor>,
    buffers: BufferUpdates,
    multiply_adds: u64,
    activations_moved: u64,
}

struct TrainingPass<'a> {
    trainable: &'a [bool],
    norms: &'a [NormMode],
    /// One per row of the batch; a second dropout layer continues where the first stopped.
    dropout: Vec<Stream>,
    /// The same for stochastic depth.
    stochastic_depth: Vec<Stream>,
}

impl StateDict {
    /// The running statistics after a batch.
    pub fn updated(&self, updates: &BufferUpdates) -> Result<Vec<(TensorId, Tensor)>> {
        updates.iter().map(|(id, change)| Ok((*id, change.of(&self.tensors[*id])?))).collect()
    }

    /// The same values on another device. Batch counts stay on the host: no computation uses them.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let place = |tensor: &Tensor| match tensor.dtype() {
            DType::I64 => Ok(tensor.clone()),
            _ => Ok(tensor.to_device(device)?),
        };
        Ok(Self { tensors: self.tensors.iter().map(place).collect::<Result<_>>()? })
    }
}

impl<'a> Pass<'a> {
    /// Inference. Weights are folded and packed once per pass, so use one pass for many batches.
    pub fn inference(state: &'a StateDict) -> Self {
        Self {
            state,
            training: None,
            measurement: None,
            explained: None,
            trace: None,
            tape: Tape::new(),
            leaves: BTreeMap::new(),
            folded: BTreeMap::new(),
            adapters: Arc::default(),
            merged: BTreeMap::new(),
            buffers: Vec::new(),
            multiply_adds: 0,
            activations_moved: 0,
        }
    }

    /// Training: `trainable[id]` says which parameters are leaves, `norms[i]` is the mode of norm `i`. Dropout
    /// and stochastic depth draw from (seed, epoch, sample) streams, one sample index per row of the batch.
    pub fn training(
        state: &'a StateDict,
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
        let training = TrainingPass { trainable, norms, dropout, stochastic_depth };
        Self { training: Some(training), ..Self::inference(state) }
    }

    #[cfg(feature = "cuda")]
    pub(super) fn is_inference(&self) -> bool {
        // Zero images that fill up a block would be measured too.
        self.training.is_none() && self.measurement.is_none()
    }

    /// The tape, for recording a loss.
    pub fn tape(&mut self) -> &mut Tape {
        &mut self.tape
    }

    /// The multiply-adds of convolutions and linear layers so far, including those of the backward pass: as many
    /// again for each needed gradient, of weights and of inputs.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// The minimum number of activation and gradient elements that convolutions, linear layers and
    /// normalizations read and write. Weights and fused operations are not counted. Includes the backward pass,
    /// as above.
    pub fn activations_moved(&self) -> u64 {
        self.activations_moved
    }

    /// Runs the backward pass from `loss`. Returns the gradient of each trainable parameter (`None` if the loss
    /// does not depend on it), and the changes of running statistics for the caller to apply.
    pub fn backward(self, loss: &Value) -> Result<(ParameterGradients, BufferUpdates)> {
        self.backward_scaled(loss, 1.0)
    }

    /// As [`Pass::backward`], with the gradients of `scale` times the loss.
    pub fn backward_scaled(self, loss: &Value, scale: f64) -> Result<(ParameterGradients, BufferUpdates)> {
        let _awake = loss.tensor().device().is_cpu().then(SpinGuard::new);
        let mut gradients = self.tape.backward_scaled(loss, scale)?;
        let trainable = self.training.map_or(&[][..], |training| training.trainable);
        let gradients = (0..trainable.len())
            .filter(|&id| trainable[id])
            .map(|id| (id, self.leaves.get(&id).and_then(|leaf| gradients.take(leaf))))
            .collect();
        Ok((gradients, self.buffers))
    }

    /// Inference that records its operations.
    pub(super) fn tracing(state: &'a StateDict) -> Self {
        Self { trace: Some(Trace::default()), ..Self::inference(state) }
    }

    /// The recorded operations.
    pub(super) fn into_trace(self) -> Trace {
        self.trace.unwrap_or_default()
    }

    /// Records an operation with what it reads and makes.
    fn record(&mut self, operation: impl FnOnce() -> TracedOperation, reads: &[&Value], makes: &[&Value]) {
        if let Some(trace) = &mut self.trace {
            trace.push(operation(), reads, makes);
        }
    }

    /// Counts a layer that applies every weight at `places` positions of each image.
    fn count(&mut self, weight: &Value, x: &Value, places: usize) {
        let images = x.tensor().dims().first().copied().unwrap_or(0);
        let products = images * places * weight.tensor().elem_count();
        let passes = 1 + [weight, x].iter().filter(|value| !value.is_constant()).count();
        let outputs = images * places * weight.tensor().dims().first().copied().unwrap_or(1);
        self.multiply_adds += (products * passes) as u64;
        self.activations_moved += ((x.tensor().elem_count() + outputs) * passes) as u64;
    }

    /// Counts products outside of the layers above.
    pub(super) fn count_products(&mut self, products: usize) {
        self.multiply_adds += products as u64;
    }

    /// Computes with the adapters of a model.
    pub(super) fn adapt(&mut self, adapters: &Arc<Adapters>) {
        self.adapters = Arc::clone(adapters);
    }

    /// The adapter of a weight, if there is one.
    fn adapter(&self, weight: TensorId) -> Option<AdaptedLayer> {
        self.adapters.layers.get(&weight).copied()
    }

    fn trains(&self, id: TensorId) -> bool {
        self.training.as_ref().is_some_and(|training| training.trainable[id])
    }

    /// The values of a parameter for a computation without a gradient.
    ///
    /// # Errors
    /// The parameter is trainable. Plans prevent that, see
    /// [`Arch::is_encoder`](crate::pipeline::Arch::is_encoder).
    pub(super) fn frozen(&self, id: TensorId) -> Result<&'a Tensor> {
        if self.trains(id) {
            return Err(Error::bug("a parameter of an encoder without gradients is to train"));
        }
        Ok(&self.state.tensors[id])
    }

    pub(super) fn parameter(&mut self, id: TensorId) -> Value {
        let tensor = &self.state.tensors[id];
        if !self.trains(id) {
            return Value::constant(tensor.clone());
        }
        self.leaves.entry(id).or_insert_with(|| self.tape.leaf(tensor.clone())).clone()
    }
}

/// The cached value of a key, created on first use.
fn get_or_make<K: Ord, V>(all: &mut BTreeMap<K, V>, key: K, make: impl FnOnce() -> Result<V>) -> Result<&V> {
    Ok(match all.entry(key) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => place.insert(make()?),
    })
}
