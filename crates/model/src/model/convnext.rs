//! ConvNeXt: Liu et al., *A ConvNet for the 2020s* (CVPR 2022), as torchvision has it, under torchvision's names. The
//! published weights were trained with a `stochastic_depth` of 0.1 (Tiny), 0.4 (Small) and 0.5 (Base).
//!
//! A block's `layer_scale` is a weight like any other to `@norm` and `@bias`: it decays with the rest, as in torchvision's recipe.

use super::activations::Activations;
use super::code_paths::CONVNEXT;
use super::description::{Init, TensorId, TensorRole};
use super::layers::{BiasedConv2d, Dense, LayerNorm, Padding};
use super::network::{ArchSpec, Backbone, BuildOptions, Network};
use super::pass::Pass;
use super::scope::{ConvSettings, Form, NormSettings, Scope};
use crate::autograd::Value;
use crate::code_path::CodePath;
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::code_paths::{GELU, LAYER_NORM, LAYER_SCALE};

pub const TINY: ArchSpec = ArchSpec {
    build: |options| build(options, [[96, 3], [192, 3], [384, 9], [768, 3]]).with_head(options),
    code_paths: CODE_PATHS,
};
pub const SMALL: ArchSpec = ArchSpec {
    build: |options| build(options, [[96, 3], [192, 3], [384, 27], [768, 3]]).with_head(options),
    code_paths: CODE_PATHS,
};
pub const BASE: ArchSpec = ArchSpec {
    build: |options| build(options, [[128, 3], [256, 3], [512, 27], [1024, 3]]).with_head(options),
    code_paths: CODE_PATHS,
};

const CODE_PATHS: &[CodePath] = &[CONVNEXT, LAYER_NORM, GELU, LAYER_SCALE];

const EPS: f64 = 1e-6;
/// What a layer scale begins with.
const SCALE: f64 = 1e-6;
/// The hidden channels of a block for each of its own.
const EXPANSION: usize = 4;
/// torchvision cuts its normal numbers off at ±2, a hundred deviations out: never.
const INIT: Init = Init::Normal { std: 0.02 };

/// The layers are `features.0` (the stem), each block and each `features.2`, `.4` and `.6`, which halve the image, and
/// `classifier.0`. The last block ends in the global average; the head is `classifier.2`.
struct ConvNeXt {
    stem: (BiasedConv2d, LayerNorm),
    body: Vec<Part>,
    norm: LayerNorm,
    /// The share of images that skip a block in training, for each block ahead of it (torchvision's count).
    stochastic_depth: f64,
}

enum Part {
    Block(Block),
    Downsample(LayerNorm, BiasedConv2d),
}

/// Convolves each channel by itself, then mixes them pixel by pixel.
struct Block {
    /// Counted through all stages.
    number: usize,
    gain: TensorId,
    depthwise: BiasedConv2d,
    norm: LayerNorm,
    perceptron: [Dense; 2],
}

/// `stages` are the channels and the blocks of each stage.
fn build(options: &BuildOptions, stages: [[usize; 2]; 4]) -> Backbone {
    let (arch, stochastic_depth) = (options.name(), options.settings.stochastic_depth);
    // There is no batch normalisation here.
    let mut scope = Scope::new(arch, NormSettings { eps: EPS, momentum: 0.0 });
    scope.layer("features.0");
    let mut inputs = stages[0][0];
    let stem = scope.within("features.0", |scope| {
        (
            scope.biased_conv2d("0", patches(options.channels, inputs, 4), INIT),
            scope.layer_norm("1", inputs, EPS),
        )
    });
    let (mut body, mut number) = (Vec::new(), 0);
    for (stage, [channels, blocks]) in stages.into_iter().enumerate() {
        if stage > 0 {
            let name = format!("features.{}", 2 * stage);
            scope.layer(&name);
            body.push(scope.within(&name, |scope| {
                let norm = scope.layer_norm("0", inputs, EPS);
                Part::Downsample(norm, scope.biased_conv2d("1", patches(inputs, channels, 2), INIT))
            }));
        }
        for index in 0..blocks {
            let name = format!("features.{}.{index}", 2 * stage + 1);
            scope.layer(&name);
            body.push(Part::Block(scope.within(&name, |scope| block(scope, channels, number))));
            number += 1;
        }
        inputs = channels;
    }
    scope.form(Form::Vector);
    scope.layer("classifier.0");
    let norm = scope.layer_norm("classifier.0", inputs, EPS);
    let network = ConvNeXt { stem, body, norm, stochastic_depth: stochastic_depth / (number - 1) as f64 };
    Backbone { scope, network: Box::new(network), features: inputs, head: "classifier.2" }
}

/// A convolution of patches that do not overlap.
fn patches(inputs: usize, outputs: usize, side: usize) -> ConvSettings {
    ConvSettings { inputs, outputs, kernel: side, stride: side, groups: 1, padding: Padding::Fixed(0) }
}

fn block(scope: &mut Scope, channels: usize, number: usize) -> Block {
    let init = Init::Constant { value: SCALE };
    let gain = scope.tensor("layer_scale", vec![channels, 1, 1], TensorRole::Weight, init);
    scope.within("block", |scope| {
        let depthwise = ConvSettings {
            inputs: channels,
            outputs: channels,
            kernel: 7,
            stride: 1,
            groups: channels,
            padding: Padding::Fixed(3),
        };
        Block {
            number,
            gain,
            depthwise: scope.biased_conv2d("0", depthwise, INIT),
            norm: scope.layer_norm("2", channels, EPS),
            perceptron: [
                scope.dense("3", [channels, EXPANSION * channels], [INIT, Init::Zeros]),
                scope.dense("5", [EXPANSION * channels, channels], [INIT, Init::Zeros]),
            ],
        }
    })
}

impl Part {
    /// `left_out` is the share of images that skip a block for each block ahead of it.
    fn forward(&self, pass: &mut Pass, x: &Value, left_out: f64) -> Result<Value> {
        match self {
            Self::Downsample(norm, conv) => {
                let normal = pass.layer_norm(norm, x)?;
                pass.conv(conv, &normal)
            }
            Self::Block(Block { number, gain, depthwise, norm, perceptron: [expand, project] }) => {
                let y = pass.conv(depthwise, x)?;
                let y = pass.layer_norm(norm, &y)?;
                let y = pass.pointwise(expand, &y, Activation::Gelu, None)?;
                let y = pass.pointwise(project, &y, Activation::None, None)?;
                pass.layer_scale(&y, *gain, x, left_out * *number as f64)
            }
        }
    }
}

impl Network for ConvNeXt {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if index == 0 {
            let (conv, norm) = &self.stem;
            let value = pass.conv(conv, &input)?;
            return pass.layer_norm(norm, &value);
        }
        if let Some(part) = self.body.get(index - 1) {
            let value = part.forward(pass, &input, self.stochastic_depth)?;
            return if index == self.body.len() { pass.average_features(value) } else { Ok(value) };
        }
        pass.layer_norm(&self.norm, &input)
    }
}
