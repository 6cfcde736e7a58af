//! Convolutions with their normalization: as operations, or folded as in inference if nothing trains in or below
//! them.

use super::{BufferChange, NormMode, Pass, get_or_make};
use crate::autograd::Value;
use crate::error::Result;
use crate::model::TensorId;
use crate::model::layers::{BatchNorm, BiasedConv2d, Conv2d};
use crate::model::trace::{TracedNorm, TracedOperation};
use crate::ops::{self, Activation, BatchStatistics, FoldedConv, FoldedNorm, Window};

impl Pass<'_> {
    /// y = activation(norm(conv(x)) + residual), on [N, H, W, C].
    pub(in crate::model) fn conv_norm(
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
        if self.measures(norm) {
            return self.measured(conv, norm, window, activation, x, residual);
        }
        if self.is_plain(conv, norm, x) {
            let y = self.folded(conv, norm, window, activation, x, residual)?;
            let operation = || TracedOperation::ConvNorm {
                weight: conv.weight,
                norm: norm.traced(),
                window,
                groups: conv.groups,
                activation,
            };
            let reads: Vec<&Value> = [x].into_iter().chain(residual).collect();
            self.record(operation, &reads, &[&y]);
            return Ok(y);
        }
        let y = ops::conv2d(&mut self.tape, x, &weight, None, window, conv.groups)?;
        self.norm(norm, activation, &y, residual)
    }

    /// y = norm(x), on [N, C].
    pub(in crate::model) fn batch_norm(&mut self, norm: &BatchNorm, x: &Value) -> Result<Value> {
        let y = self.norm(norm, Activation::None, x, None)?;
        self.record(|| TracedOperation::BatchNorm(norm.traced()), &[x], &[&y]);
        Ok(y)
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
        // The statistics of a batch, and those of its gradients, need a pass over the data of their own.
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
        self.propose(norm, statistics);
        Ok(y)
    }

    /// The end of a residual block: norm(conv(x)) + shortcut. In training, the branch is dropped for some images
    /// with probability `p`.
    pub(in crate::model) fn conv_norm_residual(
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

    /// A convolution with bias, on [N, H, W, C].
    pub(in crate::model) fn conv(&mut self, conv: &BiasedConv2d, x: &Value) -> Result<Value> {
        let BiasedConv2d { conv, bias: bias_id } = conv;
        let (_, height, width, _) = x.tensor().dims4()?;
        let window = conv.window(height, width);
        let (weight, bias) = (self.parameter(conv.weight), self.parameter(*bias_id));
        self.count(&weight, x, window.outputs([height, width]).iter().product());
        if [x, &weight, &bias].iter().all(|value| value.is_constant()) {
            let key = (conv.weight, window.padding);
            let fold = || FoldedConv::new(weight.tensor(), None, Some(bias.tensor()), window, conv.groups);
            let folded = get_or_make(&mut self.folded, key, fold)?;
            let y = Value::constant(folded.forward(x.tensor(), Activation::None, None)?);
            let (weight, bias) = (conv.weight, *bias_id);
            let groups = conv.groups;
            self.record(|| TracedOperation::Conv { weight, bias, window, groups }, &[x], &[&y]);
            return Ok(y);
        }
        ops::conv2d(&mut self.tape, x, &weight, Some(&bias), window, conv.groups)
    }

    fn norm_mode(&self, norm: &BatchNorm) -> NormMode {
        self.training.as_ref().map_or(NormMode::Frozen, |training| training.norms[norm.index])
    }

    /// Whether a convolution and its normalization compute as in inference: nothing trains in or below them.
    fn is_plain(&self, conv: &Conv2d, norm: &BatchNorm, x: &Value) -> bool {
        let trains = |id: &TensorId| self.training.as_ref().is_some_and(|training| training.trainable[*id]);
        let parameters = [conv.weight, norm.spec.weight, norm.spec.bias];
        self.norm_mode(norm) == NormMode::Frozen && x.is_constant() && !parameters.iter().any(trains)
    }

    /// The inference path: one convolution with folded normalization. A residual that needs a gradient is added
    /// on the tape.
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

    /// Notes how this batch changes the running statistics: as in PyTorch, with the unbiased variance.
    fn propose(&mut self, norm: &BatchNorm, statistics: BatchStatistics) {
        let average = |batch| BufferChange::Average { batch, momentum: norm.momentum };
        self.buffers.extend([
            (norm.spec.running_mean, average(statistics.mean)),
            (norm.spec.running_var, average(statistics.variance)),
            (norm.spec.batch_count, BufferChange::Count),
        ]);
    }
}

impl BatchNorm {
    fn traced(&self) -> TracedNorm {
        let spec = &self.spec;
        TracedNorm {
            weight: spec.weight,
            bias: spec.bias,
            running_mean: spec.running_mean,
            running_var: spec.running_var,
            eps: self.eps,
        }
    }
}
