//! The blocks of YOLO11, under the names of Ultralytics' published weights: a convolution with its normalization and
//! SiLU, two kinds of residual blocks between concatenations, pooling of several sizes, and attention.

use super::layers::{BatchNorm, Conv2d, Padding};
use super::pass::Pass;
use super::scope::{ConvSettings, Scope};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::{Activation, Window};

/// The channels of an attention head: of queries and of keys, and of values.
const KEY: usize = 32;
const VALUE: usize = 64;

const POOL: Window = Window { kernel: [5, 5], stride: [1, 1], padding: [2; 4] };

/// A convolution without bias, its normalization, and an activation.
pub struct Conv {
    conv: Conv2d,
    norm: BatchNorm,
    activation: Activation,
}

impl Conv {
    /// Declares `name.conv` and `name.bn`. Depthwise if there is one group for each channel.
    pub fn new(scope: &mut Scope, name: &str, settings: ConvSettings, activation: Activation) -> Self {
        scope.within(name, |scope| Self {
            conv: scope.conv2d_uniform("conv", settings),
            norm: scope.batch_norm("bn", settings.outputs),
            activation,
        })
    }

    /// With SiLU, and one position for each of the input.
    pub fn plain(scope: &mut Scope, name: &str, inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self::new(scope, name, same(inputs, outputs, kernel), Activation::Silu)
    }

    pub fn down(scope: &mut Scope, name: &str, inputs: usize, outputs: usize) -> Self {
        let settings = ConvSettings { stride: 2, ..same(inputs, outputs, 3) };
        Self::new(scope, name, settings, Activation::Silu)
    }

    /// A convolution of each channel by itself.
    pub fn depthwise(scope: &mut Scope, name: &str, channels: usize, activation: Activation) -> Self {
        let settings = ConvSettings { groups: channels, ..same(channels, channels, 3) };
        Self::new(scope, name, settings, activation)
    }

    fn linear(scope: &mut Scope, name: &str, inputs: usize, outputs: usize) -> Self {
        Self::new(scope, name, same(inputs, outputs, 1), Activation::None)
    }

    pub fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        pass.conv_norm(&self.conv, &self.norm, self.activation, x, None)
    }

    /// Of a convolution without an activation: the result is added to `shortcut`.
    fn onto(&self, pass: &mut Pass, x: &Value, shortcut: &Value) -> Result<Value> {
        pass.conv_norm(&self.conv, &self.norm, self.activation, x, Some(shortcut))
    }
}

/// A convolution that keeps the size of its maps.
pub fn same(inputs: usize, outputs: usize, kernel: usize) -> ConvSettings {
    ConvSettings { inputs, outputs, kernel, stride: 1, groups: 1, padding: Padding::Fixed(kernel / 2) }
}

/// Two convolutions and a shortcut, which is added behind the last activation.
struct Bottleneck {
    cv1: Conv,
    cv2: Conv,
}

impl Bottleneck {
    fn new(scope: &mut Scope, name: &str, channels: usize, hidden: usize) -> Self {
        scope.within(name, |scope| Self {
            cv1: Conv::plain(scope, "cv1", channels, hidden, 3),
            cv2: Conv::plain(scope, "cv2", hidden, channels, 3),
        })
    }

    fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let branch = self.cv1.forward(pass, x)?;
        let branch = self.cv2.forward(pass, &branch)?;
        pass.add(x, &branch)
    }
}

/// Two bottlenecks in a row, concatenated with a 1×1 convolution of the input.
struct C3k {
    cv1: Conv,
    cv2: Conv,
    cv3: Conv,
    inner: [Bottleneck; 2],
}

impl C3k {
    fn new(scope: &mut Scope, name: &str, channels: usize) -> Self {
        let hidden = channels / 2;
        scope.within(name, |scope| Self {
            cv1: Conv::plain(scope, "cv1", channels, hidden, 1),
            cv2: Conv::plain(scope, "cv2", channels, hidden, 1),
            cv3: Conv::plain(scope, "cv3", 2 * hidden, channels, 1),
            inner: ["m.0", "m.1"].map(|name| Bottleneck::new(scope, name, hidden, hidden)),
        })
    }

    fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let mut deep = self.cv1.forward(pass, x)?;
        for block in &self.inner {
            deep = block.forward(pass, &deep)?;
        }
        let shallow = self.cv2.forward(pass, x)?;
        let joined = pass.concat(&[&deep, &shallow])?;
        self.cv3.forward(pass, &joined)
    }
}

enum InnerBlock {
    Bottleneck(Box<Bottleneck>),
    C3k(Box<C3k>),
}

impl InnerBlock {
    fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        match self {
            Self::Bottleneck(block) => block.forward(pass, x),
            Self::C3k(block) => block.forward(pass, x),
        }
    }
}

/// A chain of blocks from one half of the channels, concatenated with both halves.
pub struct C3k2 {
    cv1: Conv,
    cv2: Conv,
    blocks: Vec<InnerBlock>,
    hidden: usize,
}

/// What a [`C3k2`] consists of.
#[derive(Clone, Copy)]
pub struct C3k2Settings {
    pub inputs: usize,
    pub outputs: usize,
    /// The channels of each half.
    pub hidden: usize,
    pub repeats: usize,
    /// Whether the blocks are [`C3k`].
    pub nested: bool,
}

impl C3k2 {
    pub fn new(scope: &mut Scope, name: &str, settings: C3k2Settings) -> Self {
        let C3k2Settings { inputs, outputs, hidden, repeats, nested } = settings;
        scope.within(name, |scope| Self {
            cv1: Conv::plain(scope, "cv1", inputs, 2 * hidden, 1),
            cv2: Conv::plain(scope, "cv2", (2 + repeats) * hidden, outputs, 1),
            blocks: (0..repeats)
                .map(|index| {
                    let name = format!("m.{index}");
                    match nested {
                        true => InnerBlock::C3k(Box::new(C3k::new(scope, &name, hidden))),
                        false => InnerBlock::Bottleneck(Box::new(Bottleneck::new(
                            scope,
                            &name,
                            hidden,
                            hidden / 2,
                        ))),
                    }
                })
                .collect(),
            hidden,
        })
    }

    pub fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let both = self.cv1.forward(pass, x)?;
        let mut parts = pass.split_channels(&both, 1, &[self.hidden; 2])?;
        for block in &self.blocks {
            let last = block.forward(pass, &parts[parts.len() - 1])?;
            parts.push(last);
        }
        let joined = pass.concat(&parts.iter().collect::<Vec<_>>())?;
        self.cv2.forward(pass, &joined)
    }
}

/// Three max-pools in a chain, concatenated with their input: maxima over 5, 9 and 13 pixels (He et al., *Spatial
/// Pyramid Pooling*, TPAMI 2015, computed one from the other).
pub struct Sppf {
    cv1: Conv,
    cv2: Conv,
}

impl Sppf {
    pub fn new(scope: &mut Scope, name: &str, channels: usize) -> Self {
        scope.within(name, |scope| Self {
            cv1: Conv::plain(scope, "cv1", channels, channels / 2, 1),
            cv2: Conv::plain(scope, "cv2", 2 * channels, channels, 1),
        })
    }

    pub fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let mut parts = vec![self.cv1.forward(pass, x)?];
        for place in 0..3 {
            let pooled = pass.max_pool2d(&parts[place], POOL)?;
            parts.push(pooled);
        }
        let joined = pass.concat(&parts.iter().collect::<Vec<_>>())?;
        self.cv2.forward(pass, &joined)
    }
}

/// Attention of every pixel to every pixel. A depthwise convolution of the values is added, in place of position
/// embeddings.
struct Attention {
    qkv: Conv,
    projection: Conv,
    positions: Conv,
    heads: usize,
}

impl Attention {
    fn new(scope: &mut Scope, name: &str, channels: usize) -> Self {
        let heads = channels / VALUE;
        scope.within(name, |scope| Self {
            qkv: Conv::linear(scope, "qkv", channels, heads * (2 * KEY + VALUE)),
            projection: Conv::linear(scope, "proj", channels, channels),
            positions: Conv::depthwise(scope, "pe", channels, Activation::None),
            heads,
        })
    }

    /// x + attention(x).
    fn onto(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let all = self.qkv.forward(pass, x)?;
        // Of each head by itself, as published.
        let parts = pass.split_channels(&all, self.heads, &[KEY, KEY, VALUE])?;
        let attended = pass.attention_qkv(&parts[0], &parts[1], &parts[2], self.heads)?;
        let attended = self.positions.onto(pass, &parts[2], &attended)?;
        self.projection.onto(pass, &attended, x)
    }
}

/// A block of a vision transformer: attention, then a perceptron of each pixel, each with a shortcut.
struct PsaBlock {
    attention: Attention,
    perceptron: [Conv; 2],
}

impl PsaBlock {
    fn new(scope: &mut Scope, name: &str, channels: usize) -> Self {
        scope.within(name, |scope| Self {
            attention: Attention::new(scope, "attn", channels),
            perceptron: [
                Conv::plain(scope, "ffn.0", channels, 2 * channels, 1),
                Conv::linear(scope, "ffn.1", 2 * channels, channels),
            ],
        })
    }

    fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let x = self.attention.onto(pass, x)?;
        let hidden = self.perceptron[0].forward(pass, &x)?;
        self.perceptron[1].onto(pass, &hidden, &x)
    }
}

/// Attention blocks over one half of the channels.
pub struct C2psa {
    cv1: Conv,
    cv2: Conv,
    blocks: Vec<PsaBlock>,
    half: usize,
}

impl C2psa {
    pub fn new(scope: &mut Scope, name: &str, channels: usize, repeats: usize) -> Self {
        let half = channels / 2;
        scope.within(name, |scope| Self {
            cv1: Conv::plain(scope, "cv1", channels, channels, 1),
            cv2: Conv::plain(scope, "cv2", channels, channels, 1),
            blocks: (0..repeats).map(|index| PsaBlock::new(scope, &format!("m.{index}"), half)).collect(),
            half,
        })
    }

    pub fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let both = self.cv1.forward(pass, x)?;
        let mut parts = pass.split_channels(&both, 1, &[self.half; 2])?;
        for block in &self.blocks {
            parts[1] = block.forward(pass, &parts[1])?;
        }
        let joined = pass.concat(&[&parts[0], &parts[1]])?;
        self.cv2.forward(pass, &joined)
    }
}
