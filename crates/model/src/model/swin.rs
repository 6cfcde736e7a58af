//! Swin Transformer: Liu et al., *Swin Transformer: Hierarchical Vision Transformer using Shifted Windows* (ICCV 2021), as
//! torchvision has it, under torchvision's names. The published weights were trained with a `stochastic_depth` of 0.2.
//!
//! The tables of relative positions are weights like any other to `@norm` and `@bias`: they decay with the rest.

use super::activations::Activations;
use super::code_paths::SWIN;
use super::description::{Init, TensorRole};
use super::layers::{BiasedConv2d, Dense, LayerNorm, Linear, Padding, WindowAttention};
use super::network::{ArchSpec, Backbone, BuildOptions, Network};
use super::pass::Pass;
use super::scope::{ConvSettings, Form, NormSettings, Scope};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::code_paths::{GELU, LAYER_NORM, WINDOW_ATTENTION};
use crate::ops::{Activation, WindowGrid};

pub const TINY: ArchSpec = ArchSpec {
    build: |options| build(options, [[96, 2], [192, 2], [384, 6], [768, 2]]).with_head(options),
    code_paths: &[SWIN, LAYER_NORM, GELU, WINDOW_ATTENTION],
};

/// The side of a patch in pixels, and of a window in patches.
const PATCH: usize = 4;
const WINDOW: usize = 7;
/// The channels of a head.
const HEAD: usize = 32;
/// The hidden numbers of a block's perceptron for each of a patch.
const EXPANSION: usize = 4;
const EPS: f64 = 1e-5;
/// torchvision cuts its normal numbers off at ±2, a hundred deviations out: never.
const INIT: Init = Init::Normal { std: 0.02 };

/// The layers are `features.0` (patches), each block and each `features.2`, `.4` and `.6`, which merge patches, and `norm`,
/// which ends in the global average; the head is `head`.
struct Swin {
    patches: (BiasedConv2d, LayerNorm),
    body: Vec<Part>,
    norm: LayerNorm,
    /// The share of images that skip a branch of a block in training, for each block ahead of it (torchvision's count).
    stochastic_depth: f64,
}

enum Part {
    Block(Block),
    Merge(LayerNorm, Linear),
}

struct Block {
    /// Counted through all stages.
    number: usize,
    /// Every second one has shifted windows.
    shifted: bool,
    norms: [LayerNorm; 2],
    attention: WindowAttention,
    perceptron: [Dense; 2],
}

/// `stages` are the channels and the blocks of each stage.
fn build(options: &BuildOptions, stages: [[usize; 2]; 4]) -> Backbone {
    // There is no batch normalisation here.
    let mut scope = Scope::new(options.name(), NormSettings { eps: EPS, momentum: 0.0 });
    scope.layer("features.0");
    let mut inputs = stages[0][0];
    let patches = scope.within("features.0", |scope| patches(scope, options.channels, inputs));
    let (mut body, mut number) = (Vec::new(), 0);
    for (stage, [channels, blocks]) in stages.into_iter().enumerate() {
        if stage > 0 {
            let name = format!("features.{}", 2 * stage);
            scope.layer(&name);
            scope.pool(2);
            body.push(scope.within(&name, |scope| merge(scope, inputs, channels)));
        }
        for index in 0..blocks {
            let name = format!("features.{}.{index}", 2 * stage + 1);
            scope.layer(&name);
            let shifted = index % 2 == 1;
            body.push(Part::Block(scope.within(&name, |scope| block(scope, channels, number, shifted))));
            number += 1;
        }
        inputs = channels;
    }
    scope.layer("norm");
    let norm = scope.layer_norm("norm", inputs, EPS);
    scope.form(Form::Vector);
    let stochastic_depth = options.settings.stochastic_depth / (number - 1) as f64;
    let network = Swin { patches, body, norm, stochastic_depth };
    Backbone { scope, network: Box::new(network), features: inputs, head: "head" }
}

fn patches(scope: &mut Scope, inputs: usize, outputs: usize) -> (BiasedConv2d, LayerNorm) {
    let padding = Padding::Fixed(0);
    let conv = ConvSettings { inputs, outputs, kernel: PATCH, stride: PATCH, groups: 1, padding };
    // As PyTorch's `Conv2d`.
    let init = Init::Uniform { bound: 1.0 / ((inputs * PATCH * PATCH) as f64).sqrt() };
    (scope.biased_conv2d_with("0", conv, [init; 2]), scope.layer_norm("2", outputs, EPS))
}

/// The channels of 2×2 patches become those of one.
fn merge(scope: &mut Scope, inputs: usize, outputs: usize) -> Part {
    let reduction = scope.linear_without_bias_by("reduction", 4 * inputs, outputs, INIT);
    scope.linear_layer(reduction.weight);
    let norm = scope.layer_norm("norm", 4 * inputs, EPS);
    scope.channels(outputs);
    Part::Merge(norm, reduction)
}

fn block(scope: &mut Scope, channels: usize, number: usize, shifted: bool) -> Block {
    let heads = channels / HEAD;
    let before = scope.layer_norm("norm1", channels, EPS);
    let attention = scope.within("attn", |scope| {
        let table = vec![(2 * WINDOW - 1).pow(2), heads];
        let table = scope.tensor("relative_position_bias_table", table, TensorRole::Weight, INIT);
        let index = Init::RelativePositions { window: WINDOW };
        scope.tensor("relative_position_index", vec![WINDOW.pow(4)], TensorRole::Constant, index);
        WindowAttention {
            table,
            input: scope.dense("qkv", [channels, 3 * channels], [INIT, Init::Zeros]),
            output: scope.dense("proj", [channels, channels], [INIT, Init::Zeros]),
            heads,
        }
    });
    let after = scope.layer_norm("norm2", channels, EPS);
    let hidden = EXPANSION * channels;
    let perceptron = [
        scope.dense("mlp.0", [channels, hidden], [INIT, Init::Zeros]),
        scope.dense("mlp.3", [hidden, channels], [INIT, Init::Zeros]),
    ];
    Block { number, shifted, norms: [before, after], attention, perceptron }
}

impl Block {
    /// `left_out` is the share of images that skip a branch.
    fn forward(&self, pass: &mut Pass, x: &Value, left_out: f64) -> Result<Value> {
        let (_, height, width, _) = x.tensor().dims4()?;
        let grid = WindowGrid::new([height, width], WINDOW, self.shifted);
        let normal = pass.layer_norm(&self.norms[0], x)?;
        let attended = pass.window_attention(&self.attention, &normal, grid)?;
        let attended = pass.stochastic_depth(attended, left_out)?;
        let x = pass.add(&attended, x)?;
        let normal = pass.layer_norm(&self.norms[1], &x)?;
        let [expand, project] = &self.perceptron;
        let hidden = pass.pointwise(expand, &normal, Activation::Gelu, None)?;
        let y = pass.pointwise(project, &hidden, Activation::None, None)?;
        let y = pass.stochastic_depth(y, left_out)?;
        pass.add(&y, &x)
    }
}

impl Network for Swin {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if index == 0 {
            let (conv, norm) = &self.patches;
            let value = pass.conv(conv, &input)?;
            return pass.layer_norm(norm, &value);
        }
        match self.body.get(index - 1) {
            Some(Part::Block(block)) => {
                block.forward(pass, &input, self.stochastic_depth * block.number as f64)
            }
            Some(Part::Merge(norm, reduction)) => {
                let merged = pass.merge_patches(&input)?;
                let normal = pass.layer_norm(norm, &merged)?;
                pass.pointwise_without_bias(reduction.weight, &normal)
            }
            None => {
                let normal = pass.layer_norm(&self.norm, &input)?;
                pass.average_features(normal)
            }
        }
    }
}
