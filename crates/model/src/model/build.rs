//! From a `[model]` table to a network, and from images through it.

use std::ops::Range;

use super::activations::{Activations, EMBEDDINGS, Outputs};
use super::architectures::spec;
use super::description::Description;
use super::graph::NetworkGraph;
use super::network::{Architecture, BuildOptions, Head, Network};
use super::pass::{Pass, StateDict};
use super::trace::{ModelTrace, TracedTensor};
use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::ops::SpinGuard;
use crate::pipeline;

/// The side in pixels of the images that published weights are for.
const PUBLISHED_SIZE: usize = 224;

/// An architecture with its head, ready to compute with any [`super::State`] of its shape.
pub struct Model {
    pub description: Description,
    graph: NetworkGraph,
    network: Box<dyn Network>,
    head: Box<dyn Head>,
}

impl Model {
    /// Builds `settings` with a head for `classes` classes. Takes no weights and allocates none.
    ///
    /// Where the architecture has weights for the positions in an image, they are for the published size.
    pub fn build(settings: &pipeline::Model, classes: usize) -> Model {
        Self::build_for(settings, classes, PUBLISHED_SIZE)
    }

    /// As [`Model::build_for`], for images of so many channels.
    pub fn build_for_channels(
        settings: &pipeline::Model,
        classes: usize,
        image_size: usize,
        channels: usize,
    ) -> Model {
        let build = spec(settings.arch).build;
        Self::of(build(&BuildOptions { settings, classes, image_size, channels }))
    }

    /// As [`Model::build`], for square images of `image_size` pixels.
    pub fn build_for(settings: &pipeline::Model, classes: usize, image_size: usize) -> Model {
        Self::build_for_channels(settings, classes, image_size, pipeline::RGB_CHANNELS)
    }

    pub(super) fn of(architecture: Architecture) -> Model {
        let Architecture { scope, network, head } = architecture;
        let description = Description { outputs: head.outputs(), ..scope.finish() };
        let graph = NetworkGraph::new(&description.layers);
        Model { description, graph, network, head }
    }

    /// A ResNet of two blocks and few channels: small enough for training to be followed in PyTorch to the last digits.
    pub fn tiny(classes: usize) -> Model {
        use super::resnet;
        let depth = resnet::ResNetDepth { bottleneck: false, width: 4, blocks: [1, 1, 0, 0] };
        let settings = pipeline::Model::of(pipeline::Arch::ResNet18);
        let channels = pipeline::RGB_CHANNELS;
        let options = BuildOptions { settings: &settings, classes, image_size: PUBLISHED_SIZE, channels };
        Self::of(resnet::build("tiny", depth, channels).with_head(&options))
    }

    /// The outputs of a batch. `input` is what crosses the cut ahead of layer `from`: the images where that is 0, else
    /// what [`Model::forward_layers`] has made of them up to there.
    ///
    /// # Errors
    /// Images too small for the architecture, or a failing device.
    pub fn forward(&self, pass: &mut Pass, from: usize, input: impl Into<Activations>) -> Result<Outputs> {
        let outputs = self.forward_layers(pass, from..self.description.layers.len(), input)?;
        Outputs::new(self.description.outputs, outputs)
    }

    /// Runs the layers `range`: from what crosses the cut ahead of them to what crosses the cut behind them, as
    /// [`Description::crossing`] says. Behind the last layer these are the outputs.
    ///
    /// # Errors
    /// As those of [`Model::forward`].
    pub fn forward_layers(
        &self,
        pass: &mut Pass,
        range: Range<usize>,
        input: impl Into<Activations>,
    ) -> Result<Activations> {
        through(pass, input.into(), |pass, input| self.layers(range.clone(), pass, input))
    }

    fn layers(&self, range: Range<usize>, pass: &mut Pass, input: Activations) -> Result<Activations> {
        pass.adapt(&self.description.adapters);
        let head = self.head_layer();
        if range.start > head {
            return Ok(input);
        }
        let ahead = range.start..range.end.min(head);
        let layer = |index, inputs| self.network.layer(index, pass, inputs);
        let reached = self.graph.run(ahead, input, layer)?;
        if range.end > head { self.head.forward(pass, reached) } else { Ok(reached) }
    }

    /// The embeddings [N, D] of what crosses the cut ahead of layer `from`: of images with `from` 0, or of the features of
    /// that many first layers, whether kept or computed.
    ///
    /// Those of an embedding head have unit length, so that their products are cosines; of any other head they are the
    /// pooled features that reach it, as they are: a linear head's weights tell how to weigh them, not their lengths.
    /// In an inference pass an image's embedding depends on that image alone.
    ///
    /// # Errors
    /// A head without embeddings; else as those of [`Model::forward`].
    pub fn embed(&self, pass: &mut Pass, from: usize, input: impl Into<Activations>) -> Result<Value> {
        let embed = |pass: &mut Pass, input| {
            let features = self.layers(from..self.head_layer(), pass, input)?;
            Ok(self.head.embed(pass, features)?.into())
        };
        through(pass, input.into(), embed)?.only()
    }

    /// Records what the model computes for `image` [1, H, W, C]: the operations, and which tensors are the outputs (by
    /// name) and the embedding, if the head has one.
    ///
    /// # Errors
    /// As those of [`Model::forward`]; an encoder that is not made of our operations cannot be recorded.
    pub fn trace(&self, state: &StateDict, image: &Value) -> Result<ModelTrace> {
        if self.network.is_opaque() {
            return Err(Error::usage(
                "this encoder is computed by another library, which records no operations",
            ));
        }
        if !self.description.adapters.layers.is_empty() {
            return Err(Error::bug("adapters are merged into the weights before a model is recorded"));
        }
        let mut pass = Pass::tracing(state);
        let features = self.layers(0..self.head_layer(), &mut pass, image.clone().into())?;
        let outputs = self.head.forward(&mut pass, features.clone())?;
        // Of some heads, it is the output.
        let is_output = self.description.outputs.contains(&EMBEDDINGS);
        let embedding = match self.head.embeds() && !is_output {
            true => Some(TracedTensor(self.head.embed(&mut pass, features)?.tensor().clone())),
            false => None,
        };
        let outputs = outputs.tensors().map(|tensor| TracedTensor(tensor.clone()));
        let outputs = self.description.outputs.iter().copied().zip(outputs).collect();
        Ok(ModelTrace {
            image: TracedTensor(image.tensor().clone()),
            trace: pass.into_trace(),
            outputs,
            embedding,
        })
    }

    /// The outputs of images, computed in one pass, on any device.
    pub(super) fn run(&self, pass: &mut Pass, images: Activations) -> Result<Outputs> {
        let outputs = self.layers(0..self.description.layers.len(), pass, images)?;
        Outputs::new(self.description.outputs, outputs)
    }

    /// Whether another library computes it.
    pub(super) fn is_opaque(&self) -> bool {
        self.network.is_opaque()
    }

    /// Whether [`Model::embed`] has a result.
    pub fn embeds(&self) -> bool {
        self.head.embeds()
    }

    /// The place of the head among the layers: the last.
    pub fn head_layer(&self) -> usize {
        self.description.layers.len() - 1
    }
}

/// Has a part of a model computed.
fn through(
    pass: &mut Pass,
    input: Activations,
    compute: impl Fn(&mut Pass, Activations) -> Result<Activations>,
) -> Result<Activations> {
    #[cfg(feature = "cuda")]
    if pass.is_inference() && input.device()?.is_cuda() {
        return in_blocks(pass, &input, compute);
    }
    let _awake = input.device()?.is_cpu().then(SpinGuard::new);
    compute(pass, input)
}

/// On a GPU, which way a layer is computed follows from the number of images as well. So inference goes in blocks of so
/// many, the last one filled up with zeros: an image's result does not depend on the other images.
#[cfg(feature = "cuda")]
fn in_blocks(
    pass: &mut Pass,
    input: &Activations,
    compute: impl Fn(&mut Pass, Activations) -> Result<Activations>,
) -> Result<Activations> {
    const BLOCK: usize = 32;
    let images = input.images()?;
    // By activation, then by block.
    let mut pieces: Vec<Vec<candle_core::Tensor>> = Vec::new();
    for start in (0..images).step_by(BLOCK) {
        let count = BLOCK.min(images - start);
        let block = input.map(|tensor| crate::cuda::block(tensor, start, count, BLOCK))?;
        let output = compute(pass, block)?;
        pieces.resize_with(output.count(), Vec::new);
        for (pieces, tensor) in pieces.iter_mut().zip(output.tensors()) {
            pieces.push(tensor.narrow(0, 0, count)?);
        }
    }
    let joined = pieces.iter().map(|pieces| crate::cuda::concatenate(pieces));
    Ok(Activations::constants(joined.collect::<Result<Vec<_>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TensorRole, TensorSpec};
    use crate::pipeline::Arch;

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
            (Arch::EfficientNetB4, 19_341_616, 706, 35),
            (Arch::EfficientNetV2S, 21_458_488, 782, 43),
            (Arch::EfficientNetLite0, 4_652_008, 296, 19),
            (Arch::MobileNetV3Large, 5_483_032, 312, 19),
            (Arch::MobileNetV3Small, 2_542_856, 244, 15),
            (Arch::RegNetY400Mf, 4_344_144, 384, 18),
            (Arch::RegNetY800Mf, 6_432_512, 340, 16),
            (Arch::RegNetY1_6Gf, 11_202_430, 626, 29),
            (Arch::RegNetY3_2Gf, 19_436_338, 494, 23),
            (Arch::RegNetY8Gf, 39_381_472, 406, 19),
            (Arch::RegNetY16Gf, 83_590_140, 428, 20),
            (Arch::ConvNextTiny, 28_589_128, 182, 24),
            (Arch::ConvNextSmall, 50_223_688, 344, 42),
            (Arch::ConvNextBase, 88_591_464, 344, 42),
            (Arch::SwinT, 28_288_354, 185, 18),
            (Arch::VitS16, 22_050_664, 152, 15),
            (Arch::VitB16, 86_567_656, 152, 15),
            // The encoders as published, without their text towers and the mask token; and a head for 1000 classes.
            (Arch::DinoV2VitS14, 22_056_192 + 385_000, 174 + 2, 15),
            (Arch::DinoV2VitB14, 86_579_712 + 769_000, 174 + 2, 15),
            (Arch::DinoV2VitL14, 304_367_616 + 1_025_000, 342 + 2, 27),
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
                (role(norm.weight), role(norm.batch_count))
                    == (TensorRole::NormWeight, TensorRole::BatchCount)
            }));
        }
    }

    #[test]
    fn the_first_layer_takes_the_channels_of_the_images() {
        for arch in [
            Arch::ResNet18,
            Arch::MobileNetV2,
            Arch::EfficientNetB0,
            Arch::EfficientNetLite0,
            Arch::ConvNextTiny,
            Arch::MobileNetV3Small,
            Arch::EfficientNetV2S,
            Arch::RegNetY400Mf,
            Arch::SwinT,
        ] {
            assert!(arch.takes_any_channels());
            let settings = pipeline::Model::of(arch);
            let first = |channels| {
                let Description { tensors, .. } =
                    Model::build_for_channels(&settings, 2, 32, channels).description;
                let others: Vec<Vec<usize>> =
                    tensors[1..].iter().map(|tensor| tensor.shape.clone()).collect();
                (tensors[0].shape.clone(), others)
            };
            let ((usual, others), (wide, same)) = (first(3), first(5));
            assert_eq!((usual[1], wide[1]), (3, 5), "{}", arch.name());
            assert_eq!(others, same, "{}", arch.name());
        }
        assert!(!Arch::VitS16.takes_any_channels() && !Arch::ClipVitB32.takes_any_channels());
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
        let state = crate::weights::initialize_all(&model.description, 7).unwrap().to_device(&gpu).unwrap();
        let images = crate::ops::testing::normal("images", &[33, 32, 32, 3]);
        let images = images.to_dtype(candle_core::DType::F32).unwrap().to_device(&gpu).unwrap();
        let rows = |first: usize, count: usize| {
            let input = Value::constant(images.narrow(0, first, count).unwrap().contiguous().unwrap());
            let mut pass = Pass::inference(&state);
            let scores = model.forward(&mut pass, 0, input.clone()).unwrap();
            let embeddings = model.embed(&mut pass, 0, input).unwrap();
            [scores.logits().unwrap().clone(), embeddings].map(|rows| rows.tensor().to_vec2::<f32>().unwrap())
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
