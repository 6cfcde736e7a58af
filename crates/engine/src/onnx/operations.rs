//! The translation of a trace, operation by operation.

use candle_core::Tensor;

use super::graph::{Attribute, Graph, OnnxTensor, values};
use crate::error::{Error, Result};
use crate::model::trace::{TracedOperation, TracedStep, TracedTensor};
use crate::model::{StateDict, TensorId};
use crate::ops::Activation;

/// A graph, and which of its tensors are those of the trace.
pub struct Translation<'a> {
    pub graph: &'a mut Graph,
    state: &'a StateDict,
    known: Vec<(TracedTensor, OnnxTensor)>,
}

impl<'a> Translation<'a> {
    pub fn new(
        graph: &'a mut Graph,
        state: &'a StateDict,
        image: &TracedTensor,
        normalised: OnnxTensor,
    ) -> Self {
        Self { graph, state, known: vec![(image.clone(), normalised)] }
    }

    /// Adds the nodes of an operation.
    pub fn step(&mut self, step: &TracedStep) -> Result<()> {
        let made = match &step.operation {
            TracedOperation::ConvNorm { weight, norm, window, groups, activation } => {
                let [weight, bias] = self.folded(*weight, norm)?;
                let y = self.conv(&step.reads[0], weight, bias, *window, *groups)?;
                let y = self.plus(y, step.reads.get(1))?;
                vec![self.activated(*activation, &y)]
            }
            TracedOperation::Conv { weight, bias, window, groups } => {
                let [weight, bias] = self.weights(*weight, *bias)?;
                vec![self.conv(&step.reads[0], weight, bias, *window, *groups)?]
            }
            TracedOperation::BatchNorm(norm) => vec![self.batch_norm(&step.reads[0], norm)?],
            TracedOperation::Linear { weight, bias } => vec![self.linear(&step.reads[0], *weight, *bias)?],
            TracedOperation::Cosines { weight } => vec![self.cosines(&step.reads[0], *weight)?],
            TracedOperation::NormalizeRows { length } => vec![self.normalize_rows(&step.reads[0], *length)?],
            TracedOperation::Pointwise { weight, bias, activation } => {
                let y = self.pointwise(&step.reads[0], *weight, *bias)?;
                let y = self.plus(y, step.reads.get(1))?;
                vec![self.activated(*activation, &y)]
            }
            TracedOperation::LayerNorm { weight, bias, eps } => {
                vec![self.layer_norm(&step.reads[0], *weight, *bias, *eps)?]
            }
            TracedOperation::Attention { heads } => vec![self.attention(&step.reads[0], *heads)?],
            TracedOperation::Windows(grid) => vec![self.windows(&step.reads[0], *grid)?],
            TracedOperation::FromWindows(grid) => vec![self.joined_windows(&step.reads[0], *grid)?],
            TracedOperation::MergePatches => vec![self.merge_patches(&step.reads[0])?],
            TracedOperation::WindowAttention { table, grid, heads } => {
                vec![self.window_attention(&step.reads[0], *table, *grid, *heads)?]
            }
            TracedOperation::AttentionQkv { heads } => vec![self.attention_qkv(&step.reads, *heads)?],
            TracedOperation::LayerScale { gain } => {
                let y = self.gained(&step.reads[0], *gain)?;
                vec![self.plus(y, step.reads.get(1))?]
            }
            TracedOperation::Add => {
                let x = self.tensor(&step.reads[0])?;
                vec![self.plus(x.name, step.reads.get(1))?]
            }
            TracedOperation::Concat => vec![self.concat(&step.reads)?],
            TracedOperation::SplitChannels { groups, sizes } => {
                self.split_channels(&step.reads[0], *groups, sizes)?
            }
            TracedOperation::UpsampleNearest => vec![self.upsample(&step.reads[0])?],
            TracedOperation::Tokens => vec![self.tokens(&step.reads)?],
            TracedOperation::FirstToken => vec![self.first_token(&step.reads[0])?],
            TracedOperation::MaxPool(window) => vec![self.max_pool(&step.reads[0], *window)?],
            TracedOperation::GlobalAveragePool => vec![self.global_average_pool(&step.reads[0])?],
            TracedOperation::Activation(activation) => {
                let x = self.tensor(&step.reads[0])?;
                vec![self.activated(*activation, &x.name)]
            }
            TracedOperation::ScaleChannels => vec![self.scale_channels(&step.reads)?],
        };
        for (tensor, name) in step.makes.iter().zip(made) {
            let made = OnnxTensor { name, dims: dims_of(&tensor.0) };
            self.known.push((tensor.clone(), made));
        }
        Ok(())
    }

    /// A tensor of the trace. What no step made is a constant.
    pub fn tensor(&mut self, traced: &TracedTensor) -> Result<OnnxTensor> {
        let known = self.known.iter().rev().find(|(known, _)| known.is(&traced.0));
        if let Some((_, tensor)) = known {
            return Ok(tensor.clone());
        }
        let dims = traced.0.dims().to_vec();
        if dims.len() == 4 {
            return Err(Error::bug("a map that no operation made"));
        }
        let name = self.graph.floats("constant", &dims, &values(&traced.0)?);
        let constant = OnnxTensor { name, dims };
        self.known.push((traced.clone(), constant.clone()));
        Ok(constant)
    }

    pub fn parameter(&self, id: TensorId) -> &'a Tensor {
        &self.state.tensors[id]
    }

    /// y + residual, if there is one.
    fn plus(&mut self, y: String, residual: Option<&TracedTensor>) -> Result<String> {
        let Some(residual) = residual else { return Ok(y) };
        let residual = self.tensor(residual)?;
        Ok(self.graph.node("Add", &[&y, &residual.name], &[]))
    }

    fn activated(&mut self, activation: Activation, x: &str) -> String {
        match activation {
            Activation::None => x.to_owned(),
            Activation::Relu => self.graph.node("Relu", &[x], &[]),
            Activation::Relu6 => {
                let ends =
                    [("zero", 0.0), ("six", 6.0)].map(|(name, end)| self.graph.floats(name, &[], &[end]));
                self.graph.node("Clip", &[x, &ends[0], &ends[1]], &[])
            }
            Activation::Sigmoid => self.graph.node("Sigmoid", &[x], &[]),
            Activation::Silu => {
                let sigmoid = self.graph.node("Sigmoid", &[x], &[]);
                self.graph.node("Mul", &[x, &sigmoid], &[])
            }
            Activation::Gelu => self.gelu(x),
            Activation::HardSwish => self.graph.node("HardSwish", &[x], &[]),
            Activation::HardSigmoid => {
                let [alpha, beta] = [("alpha", 1.0 / 6.0), ("beta", 0.5)];
                let attributes = [Attribute::Float(alpha.0, alpha.1), Attribute::Float(beta.0, beta.1)];
                self.graph.node("HardSigmoid", &[x], &attributes)
            }
        }
    }

    /// x / 2 · (1 + erf(x / √2)); ONNX has an operator of its own only from opset 20 on.
    fn gelu(&mut self, x: &str) -> String {
        let numbers = [("root_of_two", std::f32::consts::SQRT_2), ("one", 1.0), ("half", 0.5)];
        let [root, one, half] = numbers.map(|(name, number)| self.graph.floats(name, &[], &[number]));
        let scaled = self.graph.node("Div", &[x, &root], &[]);
        let erf = self.graph.node("Erf", &[&scaled], &[]);
        let above = self.graph.node("Add", &[&erf, &one], &[]);
        let product = self.graph.node("Mul", &[x, &above], &[]);
        self.graph.node("Mul", &[&product, &half], &[])
    }

    /// The tensor in another shape, where 0 keeps a dimension.
    pub fn reshaped(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.graph.ints("shape", shape);
        self.graph.node("Reshape", &[x, &shape], &[])
    }

    pub fn transposed(&mut self, x: &str, order: &[i64]) -> String {
        self.graph.node("Transpose", &[x], &[Attribute::Ints("perm", order)])
    }
}

/// The shape in the file: maps have their channels first.
pub fn dims_of(tensor: &Tensor) -> Vec<usize> {
    match *tensor.dims() {
        [images, height, width, channels] => vec![images, channels, height, width],
        ref other => other.to_vec(),
    }
}
