//! The structure of a model, without tensors: names, shapes, roles, layers.

use std::collections::BTreeSet;

/// The index of a tensor in [`Description::tensors`].
pub type TensorId = usize;

/// The role of a tensor. The first four are parameters, the rest buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    Weight,
    Bias,
    NormWeight,
    NormBias,
    RunningMean,
    RunningVar,
    /// `num_batches_tracked`: an i64 scalar that PyTorch's strict loading expects.
    BatchCount,
}

impl TensorRole {
    pub fn is_parameter(self) -> bool {
        matches!(self, Self::Weight | Self::Bias | Self::NormWeight | Self::NormBias)
    }

    pub fn is_norm(self) -> bool {
        !matches!(self, Self::Weight | Self::Bias)
    }

    pub fn is_bias(self) -> bool {
        matches!(self, Self::Bias | Self::NormBias)
    }
}

/// The initialization of a tensor, as in PyTorch's layers and torchvision's models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    Constant {
        value: f64,
    },
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
    /// The dotted name, as in published weights.
    pub name: String,
    pub shape: Vec<usize>,
    pub role: TensorRole,
    pub init: Init,
    /// Index into [`Description::layers`].
    pub layer: usize,
}

impl TensorSpec {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Something that a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerInput {
    Image,
    /// The activation of an earlier layer, by its place in [`Description::layers`].
    Layer(usize),
}

/// One of the layers that depth settings count.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// Such as `stem`, `layer1.0`, `fc`.
    pub name: String,
    /// What it reads, each once: the layer before it, unless it says otherwise.
    pub reads: Vec<LayerInput>,
}

/// One batch normalization layer and its five tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct NormSpec {
    /// The module's dotted name, such as `layer1.0.bn1`.
    pub name: String,
    /// The pixels of an image per position of the feature maps, along each side; `None` if it normalizes
    /// vectors.
    pub stride: Option<usize>,
    pub weight: TensorId,
    pub bias: TensorId,
    pub running_mean: TensorId,
    pub running_var: TensorId,
    pub batch_count: TensorId,
}

impl NormSpec {
    /// The number of values per channel of an image of `image_size` × `image_size` pixels, over which statistics
    /// are computed.
    pub fn values(&self, image_size: usize) -> usize {
        self.stride.map_or(1, |stride| image_size.div_ceil(stride).pow(2))
    }
}

/// Everything about a model except its values. Tensors are in the order of PyTorch's `state_dict`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    pub arch: String,
    pub tensors: Vec<TensorSpec>,
    pub norms: Vec<NormSpec>,
    pub layers: Vec<LayerSpec>,
    /// The module names of the head, for `@head`; `@backbone` is everything else.
    pub head: Vec<String>,
    /// The names of what the last layer puts out.
    pub outputs: &'static [&'static str],
    /// Modules and tensors in published files that are not part of the model; loading skips them.
    pub ignored: Vec<String>,
}

impl Description {
    /// The tensor with this exact name.
    pub fn id(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().position(|tensor| tensor.name == name)
    }

    /// The tensors that an optimizer can train, with their ids: PyTorch's `named_parameters`.
    pub fn parameters(&self) -> impl Iterator<Item = (TensorId, &TensorSpec)> {
        self.tensors.iter().enumerate().filter(|(_, tensor)| tensor.role.is_parameter())
    }

    /// Whether a tensor belongs to the head.
    pub fn in_head(&self, id: TensorId) -> bool {
        let name = &self.tensors[id].name;
        self.head.iter().any(|module| is_within(name, module))
    }

    /// Whether a published file may have this name for something outside of the model, such as a text encoder.
    pub fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|module| is_within(name, module))
    }

    /// Every name of a tensor or of a module that contains one: `layer1`, `layer1.0`, …,
    /// `layer1.0.conv1.weight`.
    pub fn names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for TensorSpec { name, .. } in &self.tensors {
            names.extend(name.match_indices('.').map(|(dot, _)| &name[..dot]));
            names.insert(name);
        }
        names
    }
}

/// Whether `name` is the module `module` or lies below it.
pub fn is_within(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use crate::autograd::Value;
    use crate::model::{Model, NormMode, Pass};
    use crate::ops::testing::normal;
    use crate::pipeline::{self, Arch};
    use crate::weights;

    /// With one training image, exactly the norms of single-position maps fail, and the first of them ends the
    /// pass.
    #[test]
    fn where_maps_have_one_place_is_known_without_running() {
        for arch in
            [Arch::ResNet18, Arch::ResNet50, Arch::MobileNetV2, Arch::EfficientNetB0, Arch::EfficientNetLite0]
        {
            let model = Model::build(&pipeline::Model::of(arch), 2);
            let description = &model.description;
            let state = weights::initialize_all(description, 1).unwrap();
            let trainable = vec![false; description.tensors.len()];
            for size in [1, 4, 5, 16, 17, 32, 33] {
                let image = normal("image", &[1, size, size, 3]).to_dtype(candle_core::DType::F32).unwrap();
                for (norm, spec) in description.norms.iter().enumerate() {
                    // Norms of one kind and stride behave alike: one of each, and the last.
                    let before = description.norms[..norm].iter().any(|other| other.stride == spec.stride);
                    if before && norm + 1 < description.norms.len() {
                        continue;
                    }
                    let mut modes = vec![NormMode::Frozen; description.norms.len()];
                    modes[norm] = NormMode::Training;
                    let mut pass = Pass::training(&state, &trainable, &modes, 0, 0, &[0]);
                    let layers = 0..model.head_layer();
                    let result = model.forward_layers(&mut pass, layers, Value::constant(image.clone()));
                    let name = &spec.name;
                    assert_eq!(result.is_err(), spec.values(size) == 1, "{arch:?} `{name}` at {size} pixels");
                }
            }
        }
    }
}
