//! One run of a model over a batch: where layers find their tensors, and what is counted on the way.

mod convolutions;
mod layers;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{DType, Device, Tensor};

use super::TensorId;
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};
use crate::ops::{Awake, FoldedConv};
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
            return Err(Error::bug("a parameter of an encoder without gradients is to train"));
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
}

/// What is kept under a key, made once.
fn kept<K: Ord, V>(all: &mut BTreeMap<K, V>, key: K, make: impl FnOnce() -> Result<V>) -> Result<&V> {
    Ok(match all.entry(key) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => place.insert(make()?),
    })
}
