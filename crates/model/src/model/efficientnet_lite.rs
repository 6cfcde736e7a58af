//! EfficientNet-Lite0: Tan and Le, *EfficientNet* (ICML 2019), in the variant for small devices: no squeeze-and-excitation,
//! ReLU6, a stem and head of fixed width. Names, TensorFlow's padding, eps and momentum are those of the published
//! checkpoint `efficientnet-lite0-57934424`, which was trained with a `dropout` and a `stochastic_depth` of 0.2.

use super::inverted_bottleneck::{Block, InvertedBottlenecks};
use super::layers::Padding;
use super::network::{ArchSpec, Backbone, BuildOptions};
use super::scope::{ConvSettings, NormSettings, Scope};
use crate::ops::Activation;

pub const LITE0: ArchSpec = ArchSpec { build: |options| build(options).with_head(options), code_paths: &[] };

/// Repeats, kernel, stride of the first, expansion and outputs of each run of blocks (EfficientNet, table 1).
const RUNS: [[usize; 5]; 7] = [
    [1, 3, 1, 1, 16],
    [2, 3, 2, 6, 24],
    [2, 5, 2, 6, 40],
    [3, 3, 2, 6, 80],
    [3, 5, 1, 6, 112],
    [4, 5, 2, 6, 192],
    [1, 3, 1, 6, 320],
];
const STEM: usize = 32;
const FEATURES: usize = 1280;
const ACTIVATION: Activation = Activation::Relu6;

/// The layers are `stem`, `_blocks.0` … `_blocks.15`, `_conv_head`, which ends in the global average; the head is `_fc`.
fn build(options: &BuildOptions) -> Backbone {
    let (arch, stochastic_depth) = (options.name(), options.settings.stochastic_depth);
    // TensorFlow's momentum of 0.99 keeps that share of the old value; PyTorch counts the other share.
    let mut scope = Scope::new(arch, NormSettings { eps: 1e-3, momentum: 0.01 });
    scope.layer("stem");
    let stem =
        (scope.conv2d("_conv_stem", conv(options.channels, STEM, 3, 2)), scope.batch_norm("_bn0", STEM));
    let mut inputs = STEM;
    let mut blocks = Vec::new();
    for [repeats, kernel, stride, expansion, outputs] in RUNS {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let name = format!("_blocks.{}", blocks.len());
            scope.layer(&name);
            blocks
                .push(scope.within(&name, |scope| block(scope, inputs, outputs, expansion, kernel, stride)));
            inputs = outputs;
        }
    }
    scope.layer("_conv_head");
    let last = (scope.conv2d("_conv_head", conv(inputs, FEATURES, 1, 1)), scope.batch_norm("_bn1", FEATURES));
    let network = InvertedBottlenecks { stem, blocks, last, activation: ACTIVATION, stochastic_depth };
    Backbone { scope, network: Box::new(network), features: FEATURES, head: "_fc" }
}

fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvSettings {
    ConvSettings { inputs, outputs, kernel, stride, groups: 1, padding: Padding::Same }
}

fn block(
    scope: &mut Scope,
    inputs: usize,
    outputs: usize,
    expansion: usize,
    kernel: usize,
    stride: usize,
) -> Block {
    let width = inputs * expansion;
    let mut convs = Vec::new();
    if expansion != 1 {
        let expand = scope.conv2d("_expand_conv", conv(inputs, width, 1, 1));
        convs.push((expand, scope.batch_norm("_bn0", width)));
    }
    let depthwise = ConvSettings { groups: width, ..conv(width, width, kernel, stride) };
    convs.push((scope.conv2d("_depthwise_conv", depthwise), scope.batch_norm("_bn1", width)));
    let project =
        (scope.conv2d("_project_conv", conv(width, outputs, 1, 1)), scope.batch_norm("_bn2", outputs));
    Block {
        convs,
        activation: ACTIVATION,
        excitation: None,
        project: Some(project),
        shortcut: stride == 1 && inputs == outputs,
    }
}
