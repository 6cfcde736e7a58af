//! EfficientNetV2: Tan and Le, *EfficientNetV2: Smaller Models and Faster Training* (ICML 2021), as torchvision has it, under
//! torchvision's names. The published weights were trained with a `dropout` of 0.2 in the head, and with a
//! `stochastic_depth` of 0.2.

use super::code_paths::EFFICIENTNET_V2;
use super::efficientnet::{ACTIVATION, block, conv, conv_norm};
use super::inverted_bottleneck::{Block, InvertedBottlenecks};
use super::network::{ArchSpec, Backbone, BuildOptions};
use super::scope::{NormSettings, Scope};

pub const SMALL: ArchSpec =
    ArchSpec { build: |options| build(options).with_head(options), code_paths: &[EFFICIENTNET_V2] };

/// Expansion, stride of the first, outputs and repeats of each run of blocks (table 4).
const RUNS: [[usize; 4]; 6] =
    [[1, 1, 24, 2], [4, 2, 48, 4], [4, 2, 64, 4], [4, 2, 128, 6], [6, 1, 160, 9], [6, 2, 256, 15]];
/// The first of them have fused blocks.
const FUSED_RUNS: usize = 3;
const KERNEL: usize = 3;
const STEM: usize = 24;
const FEATURES: usize = 1280;

/// The layers are `features.0` (the stem), the blocks `features.1.0` … `features.6.14`, `features.7`, which ends in the
/// global average; the head is `classifier.1`.
fn build(options: &BuildOptions) -> Backbone {
    let (arch, stochastic_depth) = (options.name(), options.settings.stochastic_depth);
    let norm = NormSettings { eps: 1e-3, momentum: 0.1 };
    let mut scope = Scope::of_variant(arch, norm, options.settings.variant);
    scope.layer("features.0");
    let stem = conv(options.channels, STEM, KERNEL, 2);
    let stem = scope.within("features.0", |scope| conv_norm(scope, stem));
    let (mut blocks, mut inputs) = (Vec::new(), STEM);
    for (run, [expansion, stride, outputs, repeats]) in RUNS.into_iter().enumerate() {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let name = format!("features.{}.{repeat}", run + 1);
            scope.layer(&name);
            blocks.push(scope.within(&format!("{name}.block"), |scope| {
                if run < FUSED_RUNS {
                    fused(scope, inputs, outputs, expansion, stride)
                } else {
                    block(scope, inputs, outputs, expansion, KERNEL, stride)
                }
            }));
            inputs = outputs;
        }
    }
    let name = format!("features.{}", RUNS.len() + 1);
    scope.layer(&name);
    let last = scope.within(&name, |scope| conv_norm(scope, conv(inputs, FEATURES, 1, 1)));
    let network = InvertedBottlenecks { stem, blocks, last, activation: ACTIVATION, stochastic_depth };
    Backbone { scope, network: Box::new(network), features: FEATURES, head: "classifier.1" }
}

/// A block whose expansion and depthwise convolution are one plain convolution (figure 2). Without an expansion, nothing
/// is left to project.
fn fused(scope: &mut Scope, inputs: usize, outputs: usize, expansion: usize, stride: usize) -> Block {
    let width = if expansion == 1 { outputs } else { inputs * expansion };
    let wide = scope.within("0", |scope| conv_norm(scope, conv(inputs, width, KERNEL, stride)));
    let project =
        (expansion != 1).then(|| scope.within("1", |scope| conv_norm(scope, conv(width, outputs, 1, 1))));
    let shortcut = stride == 1 && inputs == outputs;
    Block { convs: vec![wide], activation: ACTIVATION, excitation: None, project, shortcut }
}
