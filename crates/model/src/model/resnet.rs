//! ResNet: He et al., *Deep Residual Learning for Image Recognition* (CVPR 2016), as torchvision has it
//! (the stride of a bottleneck sits in its 3×3 convolution), under torchvision's names.

use super::activations::Activations;
use super::layers::{BatchNorm, Conv2d, Padding};
use super::network::{ArchSpec, Backbone, Network};
use super::pass::Pass;
use super::scope::{ConvSettings, NormSettings, Scope};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::{Activation, Window};

pub const RESNET18: ArchSpec = ArchSpec {
    build: |options| build(options.name(), basic([2, 2, 2, 2]), options.channels).with_head(options),
    code_paths: &[],
};
pub const RESNET34: ArchSpec = ArchSpec {
    build: |options| build(options.name(), basic([3, 4, 6, 3]), options.channels).with_head(options),
    code_paths: &[],
};
pub const RESNET50: ArchSpec = ArchSpec {
    build: |options| build(options.name(), bottleneck([3, 4, 6, 3]), options.channels).with_head(options),
    code_paths: &[],
};
pub const RESNET101: ArchSpec = ArchSpec {
    build: |options| build(options.name(), bottleneck([3, 4, 23, 3]), options.channels).with_head(options),
    code_paths: &[],
};
pub const RESNET152: ArchSpec = ArchSpec {
    build: |options| build(options.name(), bottleneck([3, 8, 36, 3]), options.channels).with_head(options),
    code_paths: &[],
};

/// The kind of block, how many of them each of the four stages has, and the channels of the first.
#[derive(Clone, Copy)]
pub struct ResNetDepth {
    pub bottleneck: bool,
    pub width: usize,
    pub blocks: [usize; 4],
}

const fn basic(blocks: [usize; 4]) -> ResNetDepth {
    ResNetDepth { bottleneck: false, width: 64, blocks }
}

const fn bottleneck(blocks: [usize; 4]) -> ResNetDepth {
    ResNetDepth { bottleneck: true, width: 64, blocks }
}

/// The layers are `stem`, and `layer1.0` … `layer4.n`, the last of which ends in the global average; the head is `fc`.
struct ResNet {
    stem: (Conv2d, BatchNorm),
    blocks: Vec<Block>,
}

/// Convolutions with their norms; the last one adds the shortcut.
struct Block {
    convs: Vec<(Conv2d, BatchNorm)>,
    downsample: Option<(Conv2d, BatchNorm)>,
}

const POOL: Window = Window { kernel: [3, 3], stride: [2, 2], padding: [1; 4] };

pub fn build(arch: &str, depth: ResNetDepth, channels: usize) -> Backbone {
    let mut scope = Scope::new(arch, NormSettings { eps: 1e-5, momentum: 0.1 });
    scope.layer("stem");
    let stem =
        (scope.conv2d("conv1", conv(channels, depth.width, 7, 2)), scope.batch_norm("bn1", depth.width));
    scope.pool(POOL.stride[0]);
    let expansion = if depth.bottleneck { 4 } else { 1 };
    let mut inputs = depth.width;
    let mut blocks = Vec::new();
    for (stage, &count) in depth.blocks.iter().enumerate() {
        let width = depth.width << stage;
        for index in 0..count {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = format!("layer{}.{index}", stage + 1);
            scope.layer(&name);
            blocks.push(scope.within(&name, |scope| block(scope, inputs, width, stride, depth.bottleneck)));
            inputs = width * expansion;
        }
    }
    Backbone { scope, network: Box::new(ResNet { stem, blocks }), features: inputs, head: "fc" }
}

fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvSettings {
    ConvSettings { inputs, outputs, kernel, stride, groups: 1, padding: Padding::Fixed(kernel / 2) }
}

fn block(scope: &mut Scope, inputs: usize, width: usize, stride: usize, bottleneck: bool) -> Block {
    let shapes = if bottleneck {
        vec![conv(inputs, width, 1, 1), conv(width, width, 3, stride), conv(width, width * 4, 1, 1)]
    } else {
        vec![conv(inputs, width, 3, stride), conv(width, width, 3, 1)]
    };
    let outputs = shapes[shapes.len() - 1].outputs;
    let before = scope.stride();
    let convs = (1..)
        .zip(shapes)
        .map(|(number, shape)| {
            let conv = scope.conv2d(&format!("conv{number}"), shape);
            (conv, scope.batch_norm(&format!("bn{number}"), shape.outputs))
        })
        .collect();
    let downsample = (stride != 1 || inputs != outputs).then(|| {
        let shape = conv(inputs, outputs, 1, stride);
        let branch = |scope: &mut Scope| (scope.conv2d("0", shape), scope.batch_norm("1", outputs));
        scope.within("downsample", |scope| scope.branch(before, branch))
    });
    Block { convs, downsample }
}

impl Block {
    fn forward(&self, pass: &mut Pass, input: Value) -> Result<Value> {
        let shortcut = match &self.downsample {
            Some((conv, norm)) => pass.conv_norm(conv, norm, Activation::None, &input, None)?,
            None => input.clone(),
        };
        let last = self.convs.len() - 1;
        self.convs.iter().enumerate().try_fold(input, |value, (index, (conv, norm))| {
            pass.conv_norm(conv, norm, Activation::Relu, &value, (index == last).then_some(&shortcut))
        })
    }
}

impl Network for ResNet {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if index == 0 {
            let (conv, norm) = &self.stem;
            let value = pass.conv_norm(conv, norm, Activation::Relu, &input, None)?;
            return pass.max_pool2d(&value, POOL);
        }
        let value = self.blocks[index - 1].forward(pass, input)?;
        if index == self.blocks.len() { pass.average_features(value) } else { Ok(value) }
    }
}
