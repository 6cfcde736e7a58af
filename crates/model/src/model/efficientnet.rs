//! EfficientNet: Tan and Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks* (ICML 2019), as
//! torchvision has it, under torchvision's names. The published weights were trained with a `dropout` of 0.2 in the head
//! (B0 and B1; 0.3 in B2 and B3, 0.4 in B4), and with a `stochastic_depth` of 0.2.

use super::inverted_bottleneck::{Block, Excitation, InvertedBottlenecks};
use super::layers::{BatchNorm, Conv2d, Padding};
use super::network::{ArchSpec, Backbone, BuildOptions};
use super::scope::{ConvSettings, NormSettings, Scope};
use crate::ops::Activation;

pub const B0: ArchSpec = ArchSpec {
    build: |options| {
        let scaling = Scaling { width: 1.0, depth: 1.0 };
        build(options, scaling).with_head(options)
    },
    code_paths: &[],
};
pub const B1: ArchSpec = ArchSpec {
    build: |options| {
        let scaling = Scaling { width: 1.0, depth: 1.1 };
        build(options, scaling).with_head(options)
    },
    code_paths: &[],
};
pub const B2: ArchSpec = ArchSpec {
    build: |options| {
        let scaling = Scaling { width: 1.1, depth: 1.2 };
        build(options, scaling).with_head(options)
    },
    code_paths: &[],
};
pub const B3: ArchSpec = ArchSpec {
    build: |options| {
        let scaling = Scaling { width: 1.2, depth: 1.4 };
        build(options, scaling).with_head(options)
    },
    code_paths: &[],
};
pub const B4: ArchSpec = ArchSpec {
    build: |options| {
        let scaling = Scaling { width: 1.4, depth: 1.8 };
        build(options, scaling).with_head(options)
    },
    code_paths: &[],
};

/// What the base network's channels and repeats are multiplied by (§3.3).
#[derive(Clone, Copy)]
struct Scaling {
    width: f64,
    depth: f64,
}

/// Expansion, kernel, stride of the first, outputs and repeats of each run of blocks (table 1).
const RUNS: [[usize; 5]; 7] = [
    [1, 3, 1, 16, 1],
    [6, 3, 2, 24, 2],
    [6, 5, 2, 40, 2],
    [6, 3, 2, 80, 3],
    [6, 5, 1, 112, 3],
    [6, 5, 2, 192, 4],
    [6, 3, 1, 320, 1],
];
const STEM: usize = 32;
pub const ACTIVATION: Activation = Activation::Silu;
/// The last convolution's outputs for each of its inputs.
const FEATURES: usize = 4;
/// A block's inputs for each number that its excitation is squeezed to (MnasNet, Tan et al. 2019, §4).
const SQUEEZE: usize = 4;

impl Scaling {
    /// The multiple of 8 nearest to the scaled channels, unless that takes more than a tenth of them away.
    fn channels(self, channels: usize) -> usize {
        let scaled = channels as f64 * self.width;
        let rounded = ((scaled + 4.0) as usize / 8 * 8).max(8);
        if (rounded as f64) < 0.9 * scaled { rounded + 8 } else { rounded }
    }

    fn repeats(self, repeats: usize) -> usize {
        (repeats as f64 * self.depth).ceil() as usize
    }
}

/// The layers are `features.0` (the stem), the blocks `features.1.0` … `features.7.n`, `features.8`, which ends in the
/// global average; the head is `classifier.1`.
fn build(options: &BuildOptions, scaling: Scaling) -> Backbone {
    let (arch, stochastic_depth) = (options.name(), options.settings.stochastic_depth);
    let norm = NormSettings { eps: 1e-5, momentum: 0.1 };
    let mut scope = Scope::of_variant(arch, norm, options.settings.variant);
    let mut inputs = scaling.channels(STEM);
    scope.layer("features.0");
    let stem = scope.within("features.0", |scope| conv_norm(scope, conv(options.channels, inputs, 3, 2)));
    let mut blocks = Vec::new();
    for (run, [expansion, kernel, stride, outputs, repeats]) in (1..).zip(RUNS) {
        let outputs = scaling.channels(outputs);
        for repeat in 0..scaling.repeats(repeats) {
            let stride = if repeat == 0 { stride } else { 1 };
            let name = format!("features.{run}.{repeat}");
            scope.layer(&name);
            blocks.push(scope.within(&format!("{name}.block"), |scope| {
                block(scope, inputs, outputs, expansion, kernel, stride)
            }));
            inputs = outputs;
        }
    }
    let name = format!("features.{}", RUNS.len() + 1);
    let features = FEATURES * inputs;
    scope.layer(&name);
    let last = scope.within(&name, |scope| conv_norm(scope, conv(inputs, features, 1, 1)));
    let network = InvertedBottlenecks { stem, blocks, last, activation: ACTIVATION, stochastic_depth };
    Backbone { scope, network: Box::new(network), features, head: "classifier.1" }
}

pub fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvSettings {
    ConvSettings { inputs, outputs, kernel, stride, groups: 1, padding: Padding::Fixed(kernel / 2) }
}

/// A convolution and its normalization, as torchvision's `Conv2dNormActivation` numbers them.
pub fn conv_norm(scope: &mut Scope, settings: ConvSettings) -> (Conv2d, BatchNorm) {
    (scope.conv2d("0", settings), scope.batch_norm("1", settings.outputs))
}

pub fn block(
    scope: &mut Scope,
    inputs: usize,
    outputs: usize,
    expansion: usize,
    kernel: usize,
    stride: usize,
) -> Block {
    let width = inputs * expansion;
    // torchvision numbers the modules of a block through, the expansion only where there is one.
    let number = |later: usize| (usize::from(expansion != 1) + later).to_string();
    let mut convs = Vec::new();
    if expansion != 1 {
        convs.push(scope.within("0", |scope| conv_norm(scope, conv(inputs, width, 1, 1))));
    }
    let depthwise = ConvSettings { groups: width, ..conv(width, width, kernel, stride) };
    convs.push(scope.within(&number(0), |scope| conv_norm(scope, depthwise)));
    let squeezed = (inputs / SQUEEZE).max(1);
    let excitation = scope.within(&number(1), |scope| Excitation {
        squeeze: scope.pointwise("fc1", width, squeezed),
        excite: scope.pointwise("fc2", squeezed, width),
        activation: ACTIVATION,
        gate: Activation::Sigmoid,
    });
    let project = scope.within(&number(2), |scope| conv_norm(scope, conv(width, outputs, 1, 1)));
    Block {
        convs,
        activation: ACTIVATION,
        excitation: Some(excitation),
        project: Some(project),
        shortcut: stride == 1 && inputs == outputs,
    }
}
