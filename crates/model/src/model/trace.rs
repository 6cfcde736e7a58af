//! The operations of a model for one image, in order: what an export translates. Architectures are written once, as calls
//! of [`Pass`](super::pass::Pass); a trace is the record of these calls.

use candle_core::Tensor;

use super::description::TensorId;
use crate::autograd::Value;
use crate::ops::{Activation, Window, WindowGrid};

/// What a model computes for an image.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub steps: Vec<TracedStep>,
}

/// One operation. Images and maps are [N, H, W, C].
#[derive(Clone, Debug)]
pub struct TracedStep {
    pub operation: TracedOperation,
    pub reads: Vec<TracedTensor>,
    pub makes: Vec<TracedTensor>,
}

/// A tensor of the trace, known by its identity. One that no earlier step makes and that is not the image is a constant.
#[derive(Clone, Debug)]
pub struct TracedTensor(pub Tensor);

/// The parameters and settings of an operation. It reads what its step says, in the order of the fields of its formula.
#[derive(Clone, Debug, PartialEq)]
pub enum TracedOperation {
    /// activation(norm(conv(x)) + residual); the residual may be missing.
    ConvNorm {
        weight: TensorId,
        norm: TracedNorm,
        window: Window,
        groups: usize,
        activation: Activation,
    },
    /// norm(x), on [N, C].
    BatchNorm(TracedNorm),
    Conv {
        weight: TensorId,
        bias: TensorId,
        window: Window,
        groups: usize,
    },
    Linear {
        weight: TensorId,
        bias: Option<TensorId>,
    },
    /// x · normalized(weight)ᵀ: the rows of the weight have unit length.
    Cosines {
        weight: TensorId,
    },
    /// Rows of this length.
    NormalizeRows {
        length: f64,
    },
    /// activation(dense(x) + residual) of every pixel or token; the residual may be missing.
    Pointwise {
        weight: TensorId,
        bias: Option<TensorId>,
        activation: Activation,
    },
    LayerNorm {
        weight: TensorId,
        bias: TensorId,
        eps: f64,
    },
    /// Self-attention of x [N, T, 3 · C], which has queries, keys and values.
    Attention {
        heads: usize,
    },
    /// The windows of maps.
    Windows(WindowGrid),
    /// Maps of their windows.
    FromWindows(WindowGrid),
    /// 2×2 pixels as one.
    MergePatches,
    /// Self-attention of x [N · windows, T, 3 · C] with biases of this table.
    WindowAttention {
        table: TensorId,
        grid: WindowGrid,
        heads: usize,
    },
    /// Attention of queries, keys and values [N, H, W, C].
    AttentionQkv {
        heads: usize,
    },
    /// residual + gain · x.
    LayerScale {
        gain: TensorId,
    },
    Add,
    Concat,
    SplitChannels {
        groups: usize,
        sizes: Vec<usize>,
    },
    UpsampleNearest,
    /// Of patches, the class token and positions.
    Tokens,
    FirstToken,
    MaxPool(Window),
    GlobalAveragePool,
    Activation(Activation),
    /// [N, H, W, C] times [N, C].
    ScaleChannels,
}

/// A batch normalization with its running statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracedNorm {
    pub weight: TensorId,
    pub bias: TensorId,
    pub running_mean: TensorId,
    pub running_var: TensorId,
    pub eps: f64,
}

/// What a model computes for an image, from the image to its outputs.
#[derive(Clone, Debug)]
pub struct ModelTrace {
    pub image: TracedTensor,
    pub trace: Trace,
    pub outputs: Vec<(&'static str, TracedTensor)>,
    /// The embedding [1, D] of heads that have one.
    pub embedding: Option<TracedTensor>,
}

impl Trace {
    pub(super) fn push(&mut self, operation: TracedOperation, reads: &[&Value], makes: &[&Value]) {
        let tensors = |values: &[&Value]| {
            values.iter().map(|value| TracedTensor(value.tensor().clone())).collect::<Vec<_>>()
        };
        self.steps.push(TracedStep { operation, reads: tensors(reads), makes: tensors(makes) });
    }
}

impl TracedTensor {
    /// Whether two records are of one tensor.
    pub fn is(&self, other: &Tensor) -> bool {
        self.0.id() == other.id()
    }
}
