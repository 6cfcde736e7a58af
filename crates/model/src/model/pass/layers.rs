//! Layers other than convolutions.

use candle_core::Tensor;

use super::{Pass, get_or_make};
use crate::autograd::Value;
use crate::error::Result;
use crate::model::TensorId;
use crate::model::layers::{Attention, Dense, LayerNorm, Linear, WindowAttention};
use crate::model::trace::TracedOperation;
use crate::ops::{self, Activation, FoldedConv, Window, WindowGrid};

/// A bias of zeros.
pub(super) fn no_bias(weight: &Value) -> Result<Value> {
    let (outputs, like) = (weight.tensor().dim(0)?, weight.tensor());
    Ok(Value::constant(Tensor::zeros(outputs, like.dtype(), like.device())?))
}

impl Pass<'_> {
    pub(in crate::model) fn linear(&mut self, linear: &Linear, x: &Value) -> Result<Value> {
        let weight = self.parameter(linear.weight);
        let bias = linear.bias.map(|bias| self.parameter(bias));
        self.count(&weight, x, 1);
        let y = ops::linear(&mut self.tape, x, &weight, bias.as_ref())?;
        let Linear { weight, bias } = *linear;
        self.record(|| TracedOperation::Linear { weight, bias }, &[x], &[&y]);
        Ok(y)
    }

    /// The products of x with a layer's unit rows: cosines, scaled by the length of x.
    pub(in crate::model) fn cosines(&mut self, directions: &Linear, x: &Value) -> Result<Value> {
        let weight = self.parameter(directions.weight);
        self.count(&weight, x, 1);
        let weight = ops::normalize_rows(&mut self.tape, &weight, 1.0)?;
        let y = ops::linear(&mut self.tape, x, &weight, None)?;
        self.record(|| TracedOperation::Cosines { weight: directions.weight }, &[x], &[&y]);
        Ok(y)
    }

    /// Scales each row of [N, C] to a length.
    pub(in crate::model) fn normalize_rows(&mut self, x: &Value, length: f64) -> Result<Value> {
        let y = ops::normalize_rows(&mut self.tape, x, length)?;
        self.record(|| TracedOperation::NormalizeRows { length }, &[x], &[&y]);
        Ok(y)
    }

    /// activation(dense(x) + residual) of every pixel or token: [.., in] to [.., out].
    pub(in crate::model) fn pointwise(
        &mut self,
        dense: &Dense,
        x: &Value,
        activation: Activation,
        residual: Option<&Value>,
    ) -> Result<Value> {
        self.dense(dense.weight, Some(dense.bias), x, activation, residual)
    }

    /// As [`Pass::pointwise`], a product alone.
    pub(in crate::model) fn pointwise_without_bias(&mut self, weight: TensorId, x: &Value) -> Result<Value> {
        self.dense(weight, None, x, Activation::None, None)
    }

    fn dense(
        &mut self,
        weight_id: TensorId,
        bias_id: Option<TensorId>,
        x: &Value,
        activation: Activation,
        residual: Option<&Value>,
    ) -> Result<Value> {
        match self.adapter(weight_id) {
            Some(adapter) if [weight_id, adapter.down, adapter.up].into_iter().any(|id| self.trains(id)) => {
                // The activation follows the sum of both terms.
                let weight = self.parameter(weight_id);
                let y = self.plain_dense(weight, weight_id, bias_id, x, Activation::None, residual)?;
                let y = self.add_adapted(adapter, x, &y)?;
                ops::activation(&mut self.tape, &y, activation)
            }
            Some(adapter) => {
                let weight = self.merged(weight_id, adapter)?;
                self.plain_dense(weight, weight_id, bias_id, x, activation, residual)
            }
            None => {
                let weight = self.parameter(weight_id);
                self.plain_dense(weight, weight_id, bias_id, x, activation, residual)
            }
        }
    }

    /// With the values of the weight as they are to be used.
    fn plain_dense(
        &mut self,
        weight: Value,
        weight_id: TensorId,
        bias_id: Option<TensorId>,
        x: &Value,
        activation: Activation,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let bias = match bias_id {
            Some(bias) => self.parameter(bias),
            None => no_bias(&weight)?,
        };
        let (rows, inputs) = x.tensor().flatten_to(candle_core::D::Minus2)?.dims2()?;
        self.count(&weight, x, rows / x.tensor().dim(0)?.max(1));
        let constant = [x, &weight, &bias].iter().all(|value| value.is_constant());
        if !constant || residual.is_some_and(|residual| !residual.is_constant()) {
            let y = ops::pointwise(&mut self.tape, x, &weight, &bias, residual)?;
            return ops::activation(&mut self.tape, &y, activation);
        }
        // A single-pixel convolution over one line.
        let outputs = weight.tensor().dim(0)?;
        let window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };
        let fold = || {
            let weight = weight.tensor().reshape((outputs, inputs, 1, 1))?;
            FoldedConv::new(&weight, None, Some(bias.tensor()), window, 1)
        };
        let folded = get_or_make(&mut self.folded, (weight_id, window.padding), fold)?;
        let line = |tensor: &Tensor, width: usize| tensor.reshape((1, 1, rows, width));
        let added = residual.map(|residual| line(residual.tensor(), outputs)).transpose()?;
        let y = folded.forward(&line(x.tensor(), inputs)?, activation, added.as_ref())?;
        let mut shape = x.tensor().dims().to_vec();
        shape.pop();
        shape.push(outputs);
        let y = Value::constant(y.reshape(shape)?);
        let (weight, bias) = (weight_id, bias_id);
        let reads: Vec<&Value> = [x].into_iter().chain(residual).collect();
        self.record(|| TracedOperation::Pointwise { weight, bias, activation }, &reads, &[&y]);
        Ok(y)
    }

    pub(in crate::model) fn layer_norm(&mut self, norm: &LayerNorm, x: &Value) -> Result<Value> {
        let (weight, bias) = (self.parameter(norm.weight), self.parameter(norm.bias));
        let y = ops::layer_norm(&mut self.tape, x, &weight, &bias, norm.eps)?;
        let LayerNorm { weight, bias, eps } = *norm;
        self.record(|| TracedOperation::LayerNorm { weight, bias, eps }, &[x], &[&y]);
        Ok(y)
    }

    /// The concatenated heads of self-attention, [N, T, C], before the output projection.
    pub(in crate::model) fn attention(&mut self, attention: &Attention, x: &Value) -> Result<Value> {
        let x = self.pointwise(&attention.input, x, Activation::None, None)?;
        let (images, tokens, width) = x.tensor().dims3()?;
        // Each token attends to each token: one product for the scores and one for the values.
        let products = images * 2 * tokens * tokens * width / 3;
        self.multiply_adds += (products * if x.is_constant() { 1 } else { 3 }) as u64;
        let y = ops::attention(&mut self.tape, &x, attention.heads)?;
        self.record(|| TracedOperation::Attention { heads: attention.heads }, &[&x], &[&y]);
        Ok(y)
    }

    /// The output of self-attention in windows of a map, projected: [N, H, W, C].
    pub(in crate::model) fn window_attention(
        &mut self,
        attention: &WindowAttention,
        x: &Value,
        grid: WindowGrid,
    ) -> Result<Value> {
        let WindowAttention { table, input, output, heads } = attention;
        let cut = ops::windows(&mut self.tape, x, grid)?;
        self.record(|| TracedOperation::Windows(grid), &[x], &[&cut]);
        let cut = self.pointwise(input, &cut, Activation::None, None)?;
        let (windows, tokens, width) = cut.tensor().dims3()?;
        // As in `attention`, in each window.
        let products = windows * 2 * tokens * tokens * width / 3;
        self.multiply_adds += (products * if cut.is_constant() { 1 } else { 3 }) as u64;
        let biases = self.parameter(*table);
        let y = ops::window_attention(&mut self.tape, &cut, &biases, grid, *heads)?;
        let operation = || TracedOperation::WindowAttention { table: *table, grid, heads: *heads };
        self.record(operation, &[&cut], &[&y]);
        let y = self.pointwise(output, &y, Activation::None, None)?;
        let map = ops::from_windows(&mut self.tape, &y, grid)?;
        self.record(|| TracedOperation::FromWindows(grid), &[&y], &[&map]);
        Ok(map)
    }

    /// Each 2×2 pixels as one with all their channels.
    pub(in crate::model) fn merge_patches(&mut self, x: &Value) -> Result<Value> {
        let y = ops::merge_patches(&mut self.tape, x)?;
        self.record(|| TracedOperation::MergePatches, &[x], &[&y]);
        Ok(y)
    }

    /// residual + gain · x. In training, images keep only the residual with probability `left_out`. Constant
    /// branches are never dropped.
    pub(in crate::model) fn layer_scale(
        &mut self,
        x: &Value,
        gain: TensorId,
        residual: &Value,
        left_out: f64,
    ) -> Result<Value> {
        let factor = self.parameter(gain);
        let frozen = x.is_constant() && factor.is_constant();
        let x = if frozen { x.clone() } else { self.stochastic_depth(x.clone(), left_out)? };
        let y = ops::layer_scale(&mut self.tape, &x, &factor, residual)?;
        self.record(|| TracedOperation::LayerScale { gain }, &[&x, residual], &[&y]);
        Ok(y)
    }

    /// As [`Pass::attention`], of queries, keys and values [N, H, W, C], without a projection.
    pub(in crate::model) fn attention_qkv(
        &mut self,
        query: &Value,
        key: &Value,
        value: &Value,
        heads: usize,
    ) -> Result<Value> {
        let (images, height, width, channels) = value.tensor().dims4()?;
        let all_channels = key.tensor().dim(candle_core::D::Minus1)? + channels;
        let products = images * (height * width).pow(2) * all_channels;
        let constant = [query, key, value].iter().all(|value| value.is_constant());
        self.multiply_adds += (products * if constant { 1 } else { 3 }) as u64;
        let y = ops::attention_qkv(&mut self.tape, query, key, value, heads)?;
        self.record(|| TracedOperation::AttentionQkv { heads }, &[query, key, value], &[&y]);
        Ok(y)
    }

    /// a + b, of the same shape.
    pub(in crate::model) fn add(&mut self, a: &Value, b: &Value) -> Result<Value> {
        let y = ops::add(&mut self.tape, a, b)?;
        self.record(|| TracedOperation::Add, &[a, b], &[&y]);
        Ok(y)
    }

    /// The channels of all parts side by side.
    pub(in crate::model) fn concat(&mut self, parts: &[&Value]) -> Result<Value> {
        let y = ops::concat(&mut self.tape, parts)?;
        self.record(|| TracedOperation::Concat, parts, &[&y]);
        Ok(y)
    }

    /// The channels of each of `groups` groups taken apart, into parts of these sizes.
    pub(in crate::model) fn split_channels(
        &mut self,
        x: &Value,
        groups: usize,
        sizes: &[usize],
    ) -> Result<Vec<Value>> {
        let parts = ops::split_channels(&mut self.tape, x, groups, sizes)?;
        let operation = || TracedOperation::SplitChannels { groups, sizes: sizes.to_vec() };
        self.record(operation, &[x], &parts.iter().collect::<Vec<_>>());
        Ok(parts)
    }

    /// Twice the height and width.
    pub(in crate::model) fn upsample_nearest(&mut self, x: &Value) -> Result<Value> {
        let y = ops::upsample_nearest(&mut self.tape, x)?;
        self.record(|| TracedOperation::UpsampleNearest, &[x], &[&y]);
        Ok(y)
    }

    /// The class token followed by patches, with positions added.
    pub(in crate::model) fn tokens(
        &mut self,
        patches: &Value,
        class_token: &Value,
        positions: &Value,
    ) -> Result<Value> {
        self.keep_patches(patches)?;
        let y = ops::tokens(&mut self.tape, patches, class_token, positions)?;
        self.record(|| TracedOperation::Tokens, &[patches, class_token, positions], &[&y]);
        Ok(y)
    }

    /// [N, T, C] to [N, C].
    pub(in crate::model) fn first_token(&mut self, x: &Value) -> Result<Value> {
        let y = ops::first_token(&mut self.tape, x)?;
        self.record(|| TracedOperation::FirstToken, &[x], &[&y]);
        Ok(y)
    }

    pub(in crate::model) fn max_pool2d(&mut self, x: &Value, window: Window) -> Result<Value> {
        let y = ops::max_pool2d(&mut self.tape, x, window)?;
        self.record(|| TracedOperation::MaxPool(window), &[x], &[&y]);
        Ok(y)
    }

    /// [N, H, W, C] to [N, C].
    pub(in crate::model) fn global_average_pool(&mut self, x: &Value) -> Result<Value> {
        let y = ops::global_average_pool(&mut self.tape, x)?;
        self.record(|| TracedOperation::GlobalAveragePool, &[x], &[&y]);
        Ok(y)
    }

    pub(in crate::model) fn activation(&mut self, x: &Value, activation: Activation) -> Result<Value> {
        let y = ops::activation(&mut self.tape, x, activation)?;
        self.record(|| TracedOperation::Activation(activation), &[x], &[&y]);
        Ok(y)
    }

    /// [N, H, W, C] times [N, C].
    pub(in crate::model) fn scale_channels(&mut self, x: &Value, scale: &Value) -> Result<Value> {
        let y = ops::scale_channels(&mut self.tape, x, scale)?;
        self.record(|| TracedOperation::ScaleChannels, &[x, scale], &[&y]);
        Ok(y)
    }

    /// Does nothing in inference.
    pub(in crate::model) fn dropout(&mut self, x: Value, p: f64) -> Result<Value> {
        match &mut self.training {
            Some(training) if p > 0.0 => ops::dropout(&mut self.tape, &x, p, &mut training.dropout),
            _ => Ok(x),
        }
    }

    /// Drops the branch of a residual block for some images of the batch, with probability `p`.
    ///
    /// Does nothing in inference, or for a constant branch: features of frozen layers are never random, whether
    /// they are cached or computed again.
    pub(in crate::model) fn stochastic_depth(&mut self, branch: Value, p: f64) -> Result<Value> {
        match &mut self.training {
            Some(training) if p > 0.0 && !branch.is_constant() => {
                ops::stochastic_depth(&mut self.tape, &branch, p, &mut training.stochastic_depth)
            }
            _ => Ok(branch),
        }
    }
}
