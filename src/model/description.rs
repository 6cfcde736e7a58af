//! What a model is made of, without a single tensor: names, shapes, roles, layers.

/// The place of a tensor in [`Description::tensors`].
pub type TensorId = usize;

/// What a tensor is for. The first four are parameters, the rest buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Weight,
    Bias,
    NormWeight,
    NormBias,
    RunningMean,
    RunningVar,
    /// `num_batches_tracked`: an i64 scalar that PyTorch's strict loading expects.
    BatchCount,
}

impl Role {
    pub fn is_parameter(self) -> bool {
        matches!(self, Self::Weight | Self::Bias | Self::NormWeight | Self::NormBias)
    }

    pub fn is_norm(self) -> bool {
        !matches!(self, Self::Weight | Self::Bias)
    }
}

/// How a tensor is initialised, as PyTorch's layers and torchvision's models do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with mean 0.
    Normal {
        std: f64,
    },
    /// Uniform in [−bound, bound].
    Uniform {
        bound: f64,
    },
}

/// One tensor of a state dict.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// The dotted name, as the published weights have it.
    pub name: String,
    pub shape: Vec<usize>,
    pub role: Role,
    pub init: Init,
    /// Index into [`Description::layers`].
    pub layer: usize,
}

/// One link of the chain that depth settings count.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// Such as `stem`, `layer1.0`, `fc`.
    pub name: String,
}

/// One batch normalisation layer and its five tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct NormSpec {
    /// The module's dotted name, such as `layer1.0.bn1`.
    pub name: String,
    pub weight: TensorId,
    pub bias: TensorId,
    pub running_mean: TensorId,
    pub running_var: TensorId,
    pub batch_count: TensorId,
}

/// All there is to know of a model without its numbers. Tensors stand in the order of PyTorch's `state_dict`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    pub arch: String,
    pub tensors: Vec<TensorSpec>,
    pub norms: Vec<NormSpec>,
    pub layers: Vec<LayerSpec>,
    /// The module names of the head: what `@head` means; `@backbone` is all else.
    pub head: Vec<String>,
}

/// Where an architecture declares its tensors while it is built.
pub struct Scope {
    // A prefix such as `layer1.0.`, the layer being built, and the description so far.
}
