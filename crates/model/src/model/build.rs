//! From a `[model]` table to a network.

use std::ops::Range;

use super::description::Description;
use super::head::Head;
use super::pass::Pass;
use super::scope::Scope;
use super::{clip, convnext, dinov2, efficientnet, efficientnet_lite, mobilenet_v2, resnet, siglip, vit};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::Awake;
use crate::pipeline::{self, Arch};

/// The layers of an architecture ahead of its head, as a chain in the order that depth settings count and `params` prints.
///
/// The longest prefix of the chain without anything trainable is what runs as plain inference and may be cached.
/// The last layer therefore ends in the pooled features, a few kilobytes for each image.
pub trait Network: Send + Sync {
    /// Runs layer `index` of [`Description::layers`] on [N, H, W, C]; the last one's features are [N, C].
    fn layer(&self, index: usize, pass: &mut Pass, input: Value) -> Result<Value>;
}

/// An architecture without its head.
pub struct Backbone {
    /// What it has declared.
    pub scope: Scope,
    pub network: Box<dyn Network>,
    /// How many numbers its last layer makes of an image.
    pub features: usize,
    /// The module that the architecture calls its head.
    pub head: &'static str,
}

/// The side in pixels of the images that published weights are for.
const PUBLISHED_SIZE: usize = 224;

/// An architecture with its head, ready to compute with any [`super::State`] of its shape.
pub struct Model {
    pub description: Description,
    network: Box<dyn Network>,
    head: Head,
}

impl Model {
    /// Builds `spec` with a head for `classes` classes. Takes no weights and allocates none.
    ///
    /// Where the architecture has weights for the positions in an image, they are for the published size.
    pub fn build(spec: &pipeline::Model, classes: usize) -> Model {
        Self::build_for(spec, classes, PUBLISHED_SIZE)
    }

    /// As [`Model::build`], for square images of `image_size` pixels.
    pub fn build_for(spec: &pipeline::Model, classes: usize, image_size: usize) -> Model {
        let depth = spec.stochastic_depth;
        let Backbone { mut scope, network, features, head } = match spec.arch {
            Arch::ResNet18 => resnet::build("resnet18", resnet::RESNET18),
            Arch::ResNet34 => resnet::build("resnet34", resnet::RESNET34),
            Arch::ResNet50 => resnet::build("resnet50", resnet::RESNET50),
            Arch::ResNet101 => resnet::build("resnet101", resnet::RESNET101),
            Arch::ResNet152 => resnet::build("resnet152", resnet::RESNET152),
            Arch::MobileNetV2 => mobilenet_v2::build("mobilenet_v2"),
            Arch::EfficientNetB0 => efficientnet::build("efficientnet_b0", efficientnet::B0, depth),
            Arch::EfficientNetB1 => efficientnet::build("efficientnet_b1", efficientnet::B1, depth),
            Arch::EfficientNetB2 => efficientnet::build("efficientnet_b2", efficientnet::B2, depth),
            Arch::EfficientNetB3 => efficientnet::build("efficientnet_b3", efficientnet::B3, depth),
            Arch::EfficientNetLite0 => efficientnet_lite::build("efficientnet_lite0", depth),
            Arch::ConvNextTiny => convnext::build("convnext_tiny", convnext::TINY, depth),
            Arch::VitS16 => vit::build("vit_s_16", vit::SMALL, image_size),
            Arch::VitB16 => vit::build("vit_b_16", vit::BASE, image_size),
            Arch::DinoV2VitS14 => dinov2::build("dinov2_vits14", vit::SMALL, spec.position_resampling),
            Arch::ClipVitB32 => clip::build("clip_vit_b32", clip::BASE_32),
            Arch::SiglipBase16 => siglip::build("siglip_base_patch16_224", siglip::BASE_16),
        };
        let head = Head::declare(&mut scope, head, features, classes, &spec.head);
        Model { description: scope.finish(), network, head }
    }

    /// A ResNet of two blocks and few channels: small enough for training to be followed in PyTorch to the last digits.
    pub fn tiny(classes: usize) -> Model {
        let depth = resnet::Depth { bottleneck: false, width: 4, blocks: [1, 1, 0, 0] };
        let Backbone { mut scope, network, features, head } = resnet::build("tiny", depth);
        let head = Head::declare(&mut scope, head, features, classes, &Default::default());
        Model { description: scope.finish(), network, head }
    }

    /// Runs the layers `range` of the chain.
    pub fn forward(&self, pass: &mut Pass, range: Range<usize>, input: Value) -> Result<Value> {
        through(pass, input, |pass, value| self.layers(range.clone(), pass, value))
    }

    fn layers(&self, mut range: Range<usize>, pass: &mut Pass, input: Value) -> Result<Value> {
        range.try_fold(input, |value, index| self.layer(index, pass, value))
    }

    fn layer(&self, index: usize, pass: &mut Pass, input: Value) -> Result<Value> {
        match index == self.head_layer() {
            true => self.head.forward(pass, input),
            false => self.network.layer(index, pass, input),
        }
    }

    /// The embeddings [N, D] of what reaches layer `from`: of images with `from` 0, or of the features of that many first
    /// layers, whether kept or computed.
    ///
    /// Those of an embedding head have unit length, so that their products are cosines; of any other head they are the
    /// pooled features that reach it, as they are: a linear head's weights tell how to weigh them, not their lengths.
    /// In an inference pass an image's embedding depends on that image alone.
    pub fn embed(&self, pass: &mut Pass, from: usize, input: Value) -> Result<Value> {
        through(pass, input, |pass, value| {
            let features = self.layers(from..self.head_layer(), pass, value)?;
            self.head.embed(pass, features)
        })
    }

    /// The place of the head among the layers: the last.
    pub fn head_layer(&self) -> usize {
        self.description.layers.len() - 1
    }
}

/// Has a part of a model computed.
fn through(
    pass: &mut Pass,
    input: Value,
    compute: impl Fn(&mut Pass, Value) -> Result<Value>,
) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if pass.is_inference() && input.tensor().device().is_cuda() {
        return in_blocks(pass, input.tensor(), compute);
    }
    let _awake = input.tensor().device().is_cpu().then(Awake::new);
    compute(pass, input)
}

/// On a GPU, which way a layer is computed follows from the number of images as well. So inference goes in blocks of so
/// many, the last one filled up with zeros: an image's result depends on nothing beside it.
#[cfg(feature = "cuda")]
fn in_blocks(
    pass: &mut Pass,
    input: &candle_core::Tensor,
    compute: impl Fn(&mut Pass, Value) -> Result<Value>,
) -> Result<Value> {
    const BLOCK: usize = 32;
    let rows = input.dim(0)?;
    let mut pieces = Vec::new();
    for start in (0..rows).step_by(BLOCK) {
        let count = BLOCK.min(rows - start);
        let block = Value::constant(crate::cuda::block(input, start, count, BLOCK)?);
        pieces.push(compute(pass, block)?.tensor().narrow(0, 0, count)?);
    }
    Ok(Value::constant(crate::cuda::joined(&pieces)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Role, TensorSpec};

    fn describe(arch: Arch, classes: usize) -> Description {
        Model::build(&pipeline::Model::of(arch), classes).description
    }

    #[test]
    fn counts_are_those_of_the_published_models() {
        let expected = [
            // torchvision's documented parameter counts, and the lengths of the published state dicts
            (Arch::ResNet18, 11_689_512, 122, 10),
            (Arch::ResNet34, 21_797_672, 218, 18),
            (Arch::ResNet50, 25_557_032, 320, 18),
            (Arch::ResNet101, 44_549_160, 626, 35),
            (Arch::ResNet152, 60_192_808, 932, 52),
            (Arch::MobileNetV2, 3_504_872, 314, 20),
            (Arch::EfficientNetB0, 5_288_548, 360, 19),
            (Arch::EfficientNetB1, 7_794_184, 508, 26),
            (Arch::EfficientNetB2, 9_109_994, 508, 26),
            (Arch::EfficientNetB3, 12_233_232, 574, 29),
            (Arch::EfficientNetLite0, 4_652_008, 296, 19),
            (Arch::ConvNextTiny, 28_589_128, 182, 24),
            (Arch::VitS16, 22_050_664, 152, 15),
            (Arch::VitB16, 86_567_656, 152, 15),
            // The encoders as published, without their text towers and the mask token; and a head for 1000 classes.
            (Arch::DinoV2VitS14, 22_056_192 + 385_000, 174 + 2, 15),
            (Arch::ClipVitB32, 87_456_000 + 769_000, 199 + 2, 2),
            (Arch::SiglipBase16, 92_884_224 + 769_000, 208 + 2, 2),
        ];
        for (arch, parameters, tensors, layers) in expected {
            let description = describe(arch, 1000);
            let count: usize = description.parameters().map(|(_, tensor)| tensor.elements()).sum();
            assert_eq!(
                (count, description.tensors.len(), description.layers.len()),
                (parameters, tensors, layers)
            );
            assert!(description.norms.iter().all(|norm| {
                let role = |id: usize| description.tensors[id].role;
                (role(norm.weight), role(norm.batch_count)) == (Role::NormWeight, Role::BatchCount)
            }));
        }
    }

    #[test]
    fn tensors_stand_in_the_order_and_under_the_names_of_the_state_dict() {
        let description = describe(Arch::ResNet50, 2);
        let line = |tensor: &TensorSpec| {
            format!("{} {:?} {}", tensor.name, tensor.shape, description.layers[tensor.layer].name)
        };
        let lines: Vec<String> = description.tensors.iter().map(line).collect();
        assert_eq!(
            lines[..7],
            [
                "conv1.weight [64, 3, 7, 7] stem",
                "bn1.weight [64] stem",
                "bn1.bias [64] stem",
                "bn1.running_mean [64] stem",
                "bn1.running_var [64] stem",
                "bn1.num_batches_tracked [] stem",
                "layer1.0.conv1.weight [64, 64, 1, 1] layer1.0",
            ]
        );
        assert_eq!(lines[24], "layer1.0.downsample.0.weight [256, 64, 1, 1] layer1.0");
        assert_eq!(lines[318..], ["fc.weight [2, 2048] fc", "fc.bias [2] fc"]);
        let lite = describe(Arch::EfficientNetLite0, 5);
        assert_eq!(lite.tensors[18].name, "_blocks.1._expand_conv.weight");
        assert_eq!(lite.tensors[18].shape, [96, 16, 1, 1]);
        assert_eq!(lite.tensors[24].shape, [96, 1, 3, 3]);
        assert_eq!(lite.head, ["_fc"]);
    }

    /// Heads that embed, too: how cuBLAS computes a product follows from its rows.
    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "asks for a GPU, or tests/cuda/emulated"]
    fn cuda_an_image_is_what_it_is_beside_any_others() {
        let gpu = crate::device::choose("cuda:0").unwrap().device;
        let head = toml::from_str("kind = \"embedding\"\ndimension = 16").unwrap();
        let spec = pipeline::Model { head, ..pipeline::Model::of(Arch::EfficientNetLite0) };
        let model = Model::build(&spec, 5);
        let state = crate::weights::initialize_all(&model.description, 7).unwrap().on(&gpu).unwrap();
        let images = crate::ops::testing::normal("images", &[33, 32, 32, 3]);
        let images = images.to_dtype(candle_core::DType::F32).unwrap().to_device(&gpu).unwrap();
        let rows = |first: usize, count: usize| {
            let input = Value::constant(images.narrow(0, first, count).unwrap().contiguous().unwrap());
            let mut pass = Pass::inference(&state);
            let scores = model.forward(&mut pass, 0..model.description.layers.len(), input.clone()).unwrap();
            let embeddings = model.embed(&mut pass, 0, input).unwrap();
            [scores, embeddings].map(|rows| rows.tensor().to_vec2::<f32>().unwrap())
        };
        let all = rows(0, 33);
        for image in [0, 31, 32] {
            let alone = rows(image, 1);
            for (all, alone) in all.iter().zip(&alone) {
                assert_eq!(all[image], alone[0], "image {image}");
            }
        }
    }
}
