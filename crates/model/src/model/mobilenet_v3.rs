//! MobileNetV3: Howard et al., *Searching for MobileNetV3* (ICCV 2019), as torchvision has it, under torchvision's names. The
//! published weights were trained with a dropout of 0.2 ahead of the last linear layer.

use super::activations::Activations;
use super::code_paths::MOBILENET_V3;
use super::description::Init;
use super::efficientnet::{conv, conv_norm};
use super::inverted_bottleneck::{Block, Excitation, InvertedBottlenecks};
use super::layers::Dense;
use super::network::{ArchSpec, Backbone, BuildOptions, Network};
use super::pass::Pass;
use super::scope::{ConvSettings, Form, NormSettings, Scope};
use crate::autograd::Value;
use crate::code_path::CodePath;
use crate::error::Result;
use crate::ops::Activation::{self, HardSigmoid, HardSwish, Relu};
use crate::ops::code_paths::HARD_SWISH;

pub const LARGE: ArchSpec = ArchSpec {
    build: |options| build(options, LARGE_BLOCKS, 1280).with_head(options),
    code_paths: CODE_PATHS,
};
pub const SMALL: ArchSpec = ArchSpec {
    build: |options| build(options, SMALL_BLOCKS, 1024).with_head(options),
    code_paths: CODE_PATHS,
};

const CODE_PATHS: &[CodePath] = &[MOBILENET_V3, HARD_SWISH];

/// Kernel, expanded channels, outputs, whether it has squeeze-and-excitation, the activation, and the stride.
type BlockSettings = (usize, usize, usize, bool, Activation, usize);

/// Table 1.
const LARGE_BLOCKS: &[BlockSettings] = &[
    (3, 16, 16, false, Relu, 1),
    (3, 64, 24, false, Relu, 2),
    (3, 72, 24, false, Relu, 1),
    (5, 72, 40, true, Relu, 2),
    (5, 120, 40, true, Relu, 1),
    (5, 120, 40, true, Relu, 1),
    (3, 240, 80, false, HardSwish, 2),
    (3, 200, 80, false, HardSwish, 1),
    (3, 184, 80, false, HardSwish, 1),
    (3, 184, 80, false, HardSwish, 1),
    (3, 480, 112, true, HardSwish, 1),
    (3, 672, 112, true, HardSwish, 1),
    (5, 672, 160, true, HardSwish, 2),
    (5, 960, 160, true, HardSwish, 1),
    (5, 960, 160, true, HardSwish, 1),
];
/// Table 2.
const SMALL_BLOCKS: &[BlockSettings] = &[
    (3, 16, 16, true, Relu, 2),
    (3, 72, 24, false, Relu, 2),
    (3, 88, 24, false, Relu, 1),
    (5, 96, 40, true, HardSwish, 2),
    (5, 240, 40, true, HardSwish, 1),
    (5, 240, 40, true, HardSwish, 1),
    (5, 120, 48, true, HardSwish, 1),
    (5, 144, 48, true, HardSwish, 1),
    (5, 288, 96, true, HardSwish, 2),
    (5, 576, 96, true, HardSwish, 1),
    (5, 576, 96, true, HardSwish, 1),
];
const STEM: usize = 16;
/// The last convolution's outputs for each of its inputs.
const LAST: usize = 6;
/// Of torchvision's linear layers.
const INIT: Init = Init::Normal { std: 0.01 };

/// The layers are `features.0` (the stem), the blocks, the last convolution, which ends in the global average, and
/// `classifier.0`, a linear layer; the head is `classifier.3`.
struct MobileNetV3 {
    convolutions: InvertedBottlenecks,
    linear: Dense,
}

fn build(options: &BuildOptions, settings: &[BlockSettings], features: usize) -> Backbone {
    // TensorFlow's momentum of 0.99 keeps that share of the old value; PyTorch counts the other share.
    let norm = NormSettings { eps: 1e-3, momentum: 0.01 };
    let mut scope = Scope::of_variant(options.name(), norm, options.settings.variant);
    scope.layer("features.0");
    let stem = scope.within("features.0", |scope| conv_norm(scope, conv(options.channels, STEM, 3, 2)));
    let (mut blocks, mut inputs) = (Vec::new(), STEM);
    for &settings in settings {
        let name = format!("features.{}", blocks.len() + 1);
        scope.layer(&name);
        blocks.push(scope.within(&format!("{name}.block"), |scope| block(scope, inputs, settings)));
        inputs = settings.2;
    }
    let (name, width) = (format!("features.{}", blocks.len() + 1), LAST * inputs);
    scope.layer(&name);
    let last = scope.within(&name, |scope| conv_norm(scope, conv(inputs, width, 1, 1)));
    scope.form(Form::Vector);
    scope.layer("classifier.0");
    scope.kind("Linear");
    let linear = scope.dense("classifier.0", [width, features], [INIT, Init::Zeros]);
    let convolutions =
        InvertedBottlenecks { stem, blocks, last, activation: HardSwish, stochastic_depth: 0.0 };
    let network = Box::new(MobileNetV3 { convolutions, linear });
    Backbone { scope, network, features, head: "classifier.3" }
}

/// The modules are numbered through, the expansion and the excitation only where there is one.
fn block(
    scope: &mut Scope,
    inputs: usize,
    (kernel, width, outputs, excites, activation, stride): BlockSettings,
) -> Block {
    let mut place = 0;
    let mut next = || {
        place += 1;
        (place - 1).to_string()
    };
    let mut convs = Vec::new();
    if width != inputs {
        convs.push(scope.within(&next(), |scope| conv_norm(scope, conv(inputs, width, 1, 1))));
    }
    let depthwise = ConvSettings { groups: width, ..conv(width, width, kernel, stride) };
    convs.push(scope.within(&next(), |scope| conv_norm(scope, depthwise)));
    let excitation = excites.then(|| scope.within(&next(), |scope| excitation(scope, width)));
    let project = scope.within(&next(), |scope| conv_norm(scope, conv(width, outputs, 1, 1)));
    let shortcut = stride == 1 && inputs == outputs;
    Block { convs, activation, excitation, project: Some(project), shortcut }
}

fn excitation(scope: &mut Scope, width: usize) -> Excitation {
    let squeezed = squeezed(width);
    Excitation {
        squeeze: scope.pointwise("fc1", width, squeezed),
        excite: scope.pointwise("fc2", squeezed, width),
        activation: Relu,
        gate: HardSigmoid,
    }
}

/// The multiple of 8 nearest to a quarter of the channels, unless that takes more than a tenth of them away.
fn squeezed(width: usize) -> usize {
    let quarter = width / 4;
    let rounded = ((quarter + 4) / 8 * 8).max(8);
    if 10 * rounded < 9 * quarter { rounded + 8 } else { rounded }
}

impl Network for MobileNetV3 {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        // The stem, the blocks and the last convolution.
        if index < self.convolutions.blocks.len() + 2 {
            return self.convolutions.layer(index, pass, inputs);
        }
        pass.pointwise(&self.linear, &inputs.only()?, HardSwish, None)
    }
}
