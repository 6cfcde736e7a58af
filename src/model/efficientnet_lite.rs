//! EfficientNet-Lite0: Tan and Le, *EfficientNet* (ICML 2019), in the variant for small devices: no squeeze-and-excitation,
//! ReLU6, a stem and head of fixed width. Names, TensorFlow's padding, eps and momentum are those of the published
//! checkpoint `efficientnet-lite0-57934424`. The stochastic depth it was trained with is left out.

use super::build::{Head, Network};
use super::description::Description;
use super::layers::{BatchNorm2d, Conv2d, Linear, Padding};
use super::pass::Pass;
use super::scope::{ConvSettings, NormSettings, Scope};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::Activation;

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

/// The layers are `stem`, `_blocks.0` … `_blocks.15`, `_conv_head`, which ends in the global average, and `_fc`.
struct EfficientNetLite {
    stem: (Conv2d, BatchNorm2d),
    blocks: Vec<Block>,
    head: (Conv2d, BatchNorm2d),
    fc: Linear,
    dropout: f64,
}

/// An inverted bottleneck: expand, convolve each channel by itself, project (MobileNetV2, Sandler et al. 2018, §3.3).
struct Block {
    expand: Option<(Conv2d, BatchNorm2d)>,
    depthwise: (Conv2d, BatchNorm2d),
    project: (Conv2d, BatchNorm2d),
    shortcut: bool,
}

pub fn build(arch: &str, head: Head) -> (Description, Box<dyn Network>) {
    // TensorFlow's momentum of 0.99 keeps that share of the old value; PyTorch counts the other share.
    let mut scope = Scope::new(arch, NormSettings { eps: 1e-3, momentum: 0.01 });
    scope.layer("stem");
    let stem = (scope.conv2d("_conv_stem", conv(3, STEM, 3, 2)), scope.batch_norm("_bn0", STEM));
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
    let conv_head =
        (scope.conv2d("_conv_head", conv(inputs, FEATURES, 1, 1)), scope.batch_norm("_bn1", FEATURES));
    scope.layer("_fc");
    scope.head("_fc");
    let fc = scope.linear("_fc", FEATURES, head.classes);
    let network = EfficientNetLite { stem, blocks, head: conv_head, fc, dropout: head.dropout };
    (scope.finish(), Box::new(network))
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
    let expand = (expansion != 1)
        .then(|| (scope.conv2d("_expand_conv", conv(inputs, width, 1, 1)), scope.batch_norm("_bn0", width)));
    let depthwise = ConvSettings { groups: width, ..conv(width, width, kernel, stride) };
    let depthwise = (scope.conv2d("_depthwise_conv", depthwise), scope.batch_norm("_bn1", width));
    let project =
        (scope.conv2d("_project_conv", conv(width, outputs, 1, 1)), scope.batch_norm("_bn2", outputs));
    Block { expand, depthwise, project, shortcut: stride == 1 && inputs == outputs }
}

impl Block {
    fn forward(&self, pass: &mut Pass, input: Value) -> Result<Value> {
        let expanded = match &self.expand {
            Some((conv, norm)) => pass.conv_norm(conv, norm, Activation::Relu6, &input, None)?,
            None => input.clone(),
        };
        let (conv, norm) = &self.depthwise;
        let filtered = pass.conv_norm(conv, norm, Activation::Relu6, &expanded, None)?;
        let (conv, norm) = &self.project;
        pass.conv_norm(conv, norm, Activation::None, &filtered, self.shortcut.then_some(&input))
    }
}

impl Network for EfficientNetLite {
    fn layer(&self, index: usize, pass: &mut Pass, input: Value) -> Result<Value> {
        if index == 0 {
            let (conv, norm) = &self.stem;
            return pass.conv_norm(conv, norm, Activation::Relu6, &input, None);
        }
        if let Some(block) = self.blocks.get(index - 1) {
            return block.forward(pass, input);
        }
        if index == self.blocks.len() + 1 {
            let (conv, norm) = &self.head;
            let value = pass.conv_norm(conv, norm, Activation::Relu6, &input, None)?;
            return pass.global_average_pool(&value);
        }
        let features = pass.dropout(input, self.dropout)?;
        pass.linear(&self.fc, &features)
    }
}
