//! RegNetY: Radosavovic et al., *Designing Network Design Spaces* (CVPR 2020), as torchvision has it, under torchvision's names.
//! Nothing drops at random inside it, as published.

use super::activations::Activations;
use super::code_paths::REGNET;
use super::efficientnet::{conv, conv_norm};
use super::inverted_bottleneck::Excitation;
use super::layers::{BatchNorm, Conv2d};
use super::network::{ArchSpec, Backbone, BuildOptions, Network};
use super::pass::Pass;
use super::scope::{ConvSettings, NormSettings, Scope};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::Activation;

macro_rules! regnets {
    ($($name:ident: $group:literal, $stages:expr;)+) => {
        $(pub const $name: ArchSpec = ArchSpec {
            build: |options| build(options, $group, $stages).with_head(options),
            code_paths: &[REGNET],
        };)+
    };
}

// The channels of a group, and the channels and the blocks of each stage: the quantised linear widths of §3.3.
regnets! {
    Y_400MF: 8, [[48, 1], [104, 3], [208, 6], [440, 6]];
    Y_800MF: 16, [[64, 1], [144, 3], [320, 8], [784, 2]];
    Y_1_6GF: 24, [[48, 2], [120, 6], [336, 17], [888, 2]];
    Y_3_2GF: 24, [[72, 2], [216, 5], [576, 13], [1512, 1]];
    Y_8GF: 56, [[224, 2], [448, 4], [896, 10], [2016, 1]];
    Y_16GF: 112, [[224, 2], [448, 4], [1232, 11], [3024, 1]];
}

const STEM: usize = 32;
/// A block's inputs for each number that its excitation is squeezed to (§3.4).
const SQUEEZE: usize = 4;

/// The layers are `stem`, and the blocks `trunk_output.block1.block1-0` …, the last of which ends in the global average; the
/// head is `fc`.
struct RegNet {
    stem: (Conv2d, BatchNorm),
    blocks: Vec<Block>,
}

/// Of a residual bottleneck: 1×1, 3×3 in groups, squeeze-and-excitation, 1×1.
struct Block {
    shortcut: Option<(Conv2d, BatchNorm)>,
    first: (Conv2d, BatchNorm),
    grouped: (Conv2d, BatchNorm),
    excitation: Excitation,
    last: (Conv2d, BatchNorm),
}

fn build(options: &BuildOptions, group: usize, stages: [[usize; 2]; 4]) -> Backbone {
    let mut scope = Scope::new(options.name(), NormSettings { eps: 1e-5, momentum: 0.1 });
    scope.layer("stem");
    let stem = conv(options.channels, STEM, 3, 2);
    let stem = scope.within("stem", |scope| conv_norm(scope, stem));
    let (mut blocks, mut inputs) = (Vec::new(), STEM);
    for (stage, [channels, count]) in (1..).zip(stages) {
        for index in 0..count {
            let stride = if index == 0 { 2 } else { 1 };
            let name = format!("trunk_output.block{stage}.block{stage}-{index}");
            scope.layer(&name);
            blocks.push(scope.within(&name, |scope| block(scope, inputs, channels, stride, group)));
            inputs = channels;
        }
    }
    Backbone { scope, network: Box::new(RegNet { stem, blocks }), features: inputs, head: "fc" }
}

fn block(scope: &mut Scope, inputs: usize, width: usize, stride: usize, group: usize) -> Block {
    let before = scope.stride();
    let shortcut = (stride != 1 || inputs != width)
        .then(|| scope.within("proj", |scope| conv_norm(scope, conv(inputs, width, 1, stride))));
    let grouped = ConvSettings { groups: width / group, ..conv(width, width, 3, stride) };
    let squeezed = inputs / SQUEEZE;
    let branch = |scope: &mut Scope| Block {
        shortcut,
        first: scope.within("a", |scope| conv_norm(scope, conv(inputs, width, 1, 1))),
        grouped: scope.within("b", |scope| conv_norm(scope, grouped)),
        excitation: scope.within("se", |scope| Excitation {
            squeeze: scope.pointwise("fc1", width, squeezed),
            excite: scope.pointwise("fc2", squeezed, width),
            activation: Activation::Relu,
            gate: Activation::Sigmoid,
        }),
        last: scope.within("c", |scope| conv_norm(scope, conv(width, width, 1, 1))),
    };
    scope.within("f", |scope| scope.branch(before, branch))
}

impl Block {
    fn forward(&self, pass: &mut Pass, input: Value) -> Result<Value> {
        let shortcut = match &self.shortcut {
            Some((conv, norm)) => pass.conv_norm(conv, norm, Activation::None, &input, None)?,
            None => input.clone(),
        };
        let mut value = input;
        for (conv, norm) in [&self.first, &self.grouped] {
            value = pass.conv_norm(conv, norm, Activation::Relu, &value, None)?;
        }
        let value = self.excitation.forward(pass, &value)?;
        let (conv, norm) = &self.last;
        pass.conv_norm(conv, norm, Activation::Relu, &value, Some(&shortcut))
    }
}

impl Network for RegNet {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if index == 0 {
            let (conv, norm) = &self.stem;
            return pass.conv_norm(conv, norm, Activation::Relu, &input, None);
        }
        let value = self.blocks[index - 1].forward(pass, input)?;
        if index == self.blocks.len() { pass.average_features(value) } else { Ok(value) }
    }
}
