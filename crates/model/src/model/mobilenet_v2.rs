//! MobileNetV2: Sandler et al., *MobileNetV2: Inverted Residuals and Linear Bottlenecks* (CVPR 2018), as torchvision has it,
//! under torchvision's names. The published weights were trained with a `dropout` of 0.2 in the head.

use super::inverted_bottleneck::{Block, InvertedBottlenecks};
use super::layers::{BatchNorm, Conv2d, Padding};
use super::network::{ArchSpec, Backbone};
use super::scope::{ConvSettings, NormSettings, Scope};
use crate::ops::Activation;

pub const MOBILENET_V2: ArchSpec =
    ArchSpec { build: |options| build(options.name(), options.channels).with_head(options), code_paths: &[] };

/// Expansion, outputs, repeats and stride of the first of each run of blocks (the paper's table 2).
const RUNS: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];
const STEM: usize = 32;
const FEATURES: usize = 1280;
const ACTIVATION: Activation = Activation::Relu6;

/// The layers are `features.0` (the stem) … `features.18`, which ends in the global average; the head is `classifier.1`.
fn build(arch: &str, channels: usize) -> Backbone {
    let mut scope = Scope::new(arch, NormSettings { eps: 1e-5, momentum: 0.1 });
    scope.layer("features.0");
    let stem = scope.within("features.0", |scope| conv_norm(scope, "0", "1", conv(channels, STEM, 3, 2)));
    let mut inputs = STEM;
    let mut blocks = Vec::new();
    for [expansion, outputs, repeats, stride] in RUNS {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let name = format!("features.{}", blocks.len() + 1);
            scope.layer(&name);
            blocks.push(
                scope.within(&format!("{name}.conv"), |scope| {
                    block(scope, inputs, outputs, expansion, stride)
                }),
            );
            inputs = outputs;
        }
    }
    let name = format!("features.{}", blocks.len() + 1);
    scope.layer(&name);
    let last = scope.within(&name, |scope| conv_norm(scope, "0", "1", conv(inputs, FEATURES, 1, 1)));
    let network = InvertedBottlenecks { stem, blocks, last, activation: ACTIVATION, stochastic_depth: 0.0 };
    Backbone { scope, network: Box::new(network), features: FEATURES, head: "classifier.1" }
}

fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvSettings {
    ConvSettings { inputs, outputs, kernel, stride, groups: 1, padding: Padding::Fixed(kernel / 2) }
}

fn conv_norm(scope: &mut Scope, conv: &str, norm: &str, settings: ConvSettings) -> (Conv2d, BatchNorm) {
    (scope.conv2d(conv, settings), scope.batch_norm(norm, settings.outputs))
}

/// torchvision numbers the modules of a block through; only those with an activation hold theirs in a module of their own.
fn block(scope: &mut Scope, inputs: usize, outputs: usize, expansion: usize, stride: usize) -> Block {
    let width = inputs * expansion;
    let mut convs = Vec::new();
    if expansion != 1 {
        convs.push(conv_norm(scope, "0.0", "0.1", conv(inputs, width, 1, 1)));
    }
    let number = |later: usize| usize::from(expansion != 1) + later;
    let depthwise = ConvSettings { groups: width, ..conv(width, width, 3, stride) };
    convs.push(conv_norm(scope, &format!("{}.0", number(0)), &format!("{}.1", number(0)), depthwise));
    let project = conv(width, outputs, 1, 1);
    let project = conv_norm(scope, &number(1).to_string(), &number(2).to_string(), project);
    Block {
        convs,
        activation: ACTIVATION,
        excitation: None,
        project: Some(project),
        shortcut: stride == 1 && inputs == outputs,
    }
}
