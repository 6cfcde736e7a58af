//! The structure of a model, without tensors: names, shapes, roles, layers.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::adapter::Adapters;

/// The index of a tensor in [`Description::tensors`].
pub type TensorId = usize;

/// The role of a tensor. The first four are parameters, then come buffers and constants.
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
    /// Numbers that the architecture fixes and published files keep as if they were a weight. They never train, and
    /// a file may lack them.
    Constant,
}

impl TensorRole {
    pub fn is_parameter(self) -> bool {
        matches!(self, Self::Weight | Self::Bias | Self::NormWeight | Self::NormBias)
    }

    pub fn is_norm(self) -> bool {
        !matches!(self, Self::Weight | Self::Bias | Self::Constant)
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
    /// 0, 1, 2, … in row-major order.
    Index,
    /// For each pair of pixels of a square window with this side, the row of a table of biases by distance: i64.
    RelativePositions {
        window: usize,
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

    /// Whether the files of all libraries have it. timm's lack the relative positions in windows, which no computation
    /// reads.
    pub fn is_in_all_files(&self) -> bool {
        !matches!(self.init, Init::RelativePositions { .. })
    }
}

/// Something that a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerInput {
    Image,
    /// The activation of an earlier layer, by its place in [`Description::layers`].
    Layer(usize),
}

/// What a layer puts out for an image, without numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerOutput {
    /// `stride` are the pixels of an image per position, along each side. A part of a position counts as one unless
    /// `rounds_down`.
    Map {
        channels: usize,
        stride: usize,
        rounds_down: bool,
    },
    /// As [`LayerOutput::Map`], with the positions one after the other, behind a class token.
    Tokens {
        channels: usize,
        stride: usize,
    },
    Vector {
        channels: usize,
    },
    /// The positions of several maps, one after the other.
    Points {
        channels: usize,
        strides: &'static [usize],
    },
}

impl LayerOutput {
    /// The sizes for a square image, the channels first.
    pub fn shape(&self, image_size: usize) -> Vec<usize> {
        match *self {
            Self::Map { channels, stride, rounds_down } => {
                let side = if rounds_down { image_size / stride } else { image_size.div_ceil(stride) };
                vec![channels, side, side]
            }
            Self::Tokens { channels, stride } => vec![channels, 1 + (image_size / stride).pow(2)],
            Self::Vector { channels } => vec![channels],
            Self::Points { channels, strides } => {
                vec![channels, strides.iter().map(|stride| (image_size / stride).pow(2)).sum()]
            }
        }
    }
}

/// One of the layers that depth settings count.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// Such as `stem`, `layer1.0`, `fc`.
    pub name: String,
    /// What it reads, each once: the layer before it, unless it says otherwise.
    pub reads: Vec<LayerInput>,
    /// Such as `C3k2`; `None` for [`Description::kind`] to tell by the tensors.
    pub kind: Option<&'static str>,
    pub output: LayerOutput,
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
    /// The module names of the head, for `@head`.
    pub head: Vec<String>,
    /// The module names of the neck, for `@neck`; empty without one. `@backbone` is everything else.
    pub neck: Vec<String>,
    /// The names of what the last layer puts out.
    pub outputs: &'static [&'static str],
    /// Modules and tensors in published files that are not part of the model; loading skips them.
    pub ignored: Vec<String>,
    /// The weights of linear layers over pixels or tokens, which adapters may change.
    pub linear_layers: Vec<TensorId>,
    /// The adapters of linear layers; their tensors come last.
    pub adapters: Arc<Adapters>,
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

    /// Whether a tensor belongs to the neck.
    pub fn in_neck(&self, id: TensorId) -> bool {
        let name = &self.tensors[id].name;
        self.neck.iter().any(|module| is_within(name, module))
    }

    /// The tensors that the architecture fixes, with their ids.
    pub fn constants(&self) -> impl Iterator<Item = (TensorId, &TensorSpec)> {
        self.tensors.iter().enumerate().filter(|(_, tensor)| tensor.role == TensorRole::Constant)
    }

    /// What a layer is, such as `Conv` or `Block`.
    pub fn kind(&self, layer: usize) -> &'static str {
        let LayerSpec { name, kind, .. } = &self.layers[layer];
        let weights = self.tensors.iter().filter(|tensor| tensor.layer == layer);
        let ranks: Vec<usize> = weights
            .filter(|tensor| tensor.role == TensorRole::Weight && tensor.shape.len() > 1)
            .map(|tensor| tensor.shape.len())
            .collect();
        match (kind, &ranks[..]) {
            (Some(kind), _) => kind,
            _ if self.head.contains(name) => "Head",
            (None, []) => "Norm",
            // A convolution, after tokens and positions if it makes patches.
            _ if ranks.iter().filter(|rank| **rank == 4).count() == 1 && !ranks.contains(&2) => "Conv",
            _ => "Block",
        }
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

    #[test]
    fn layers_put_out_what_is_said_of_them() {
        for (arch, size) in [
            (Arch::ResNet18, 45),
            (Arch::MobileNetV2, 33),
            (Arch::EfficientNetB0, 45),
            (Arch::EfficientNetLite0, 33),
            (Arch::ConvNextTiny, 47),
            (Arch::MobileNetV3Small, 45),
            (Arch::EfficientNetV2S, 33),
            (Arch::RegNetY400Mf, 45),
            (Arch::SwinT, 64),
            (Arch::VitS16, 32),
            (Arch::DinoV2VitS14, 28),
            (Arch::Yolo11N, 64),
        ] {
            let model = Model::build_for(&pipeline::Model::of(arch), 3, size);
            let description = &model.description;
            let state = weights::initialize_all(description, 1).unwrap();
            let image = normal("image", &[1, size, size, 3]).to_dtype(candle_core::DType::F32).unwrap();
            let mut pass = Pass::inference(&state);
            let mut value = Value::constant(image).into();
            for (layer, spec) in description.layers.iter().enumerate() {
                value = model.forward_layers(&mut pass, layer..layer + 1, value).unwrap();
                let mut dims = value.tensors().next().unwrap().dims()[1..].to_vec();
                dims.rotate_right(1);
                assert_eq!(spec.output.shape(size), dims, "{arch:?} `{}`", spec.name);
            }
        }
    }

    #[test]
    fn layers_have_a_kind() {
        let kinds = |arch: Arch| {
            let description = Model::build(&pipeline::Model::of(arch), 3).description;
            let mut kinds: Vec<&str> =
                (0..description.layers.len()).map(|layer| description.kind(layer)).collect();
            kinds.dedup();
            kinds
        };
        assert_eq!(kinds(Arch::ResNet50), ["Conv", "Block", "Head"]);
        assert_eq!(kinds(Arch::MobileNetV2), ["Conv", "Block", "Conv", "Head"]);
        assert_eq!(kinds(Arch::MobileNetV3Small), ["Conv", "Block", "Conv", "Linear", "Head"]);
        assert_eq!(kinds(Arch::RegNetY400Mf), ["Conv", "Block", "Head"]);
        assert_eq!(kinds(Arch::VitS16), ["Conv", "Block", "Norm", "Head"]);
        assert_eq!(kinds(Arch::ClipVitB32), ["Block", "Head"]);
        let detector =
            ["Conv", "C3k2", "Conv", "C3k2", "Conv", "C3k2", "Conv", "C3k2", "SPPF", "C2PSA", "Head"];
        assert_eq!(kinds(Arch::Yolo11N)[..], detector[..]);
    }

    /// With one training image, exactly the norms of single-position maps fail, and the first of them ends the
    /// pass.
    #[test]
    fn where_maps_have_one_place_is_known_without_running() {
        for arch in [
            Arch::ResNet18,
            Arch::ResNet50,
            Arch::MobileNetV2,
            Arch::EfficientNetB0,
            Arch::EfficientNetLite0,
            Arch::MobileNetV3Small,
            Arch::EfficientNetV2S,
            Arch::RegNetY400Mf,
        ] {
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
