//! Vision transformers: Dosovitskiy et al., *An Image is Worth 16x16 Words* (ICLR 2021), as torchvision has them, under
//! torchvision's names; the small one, which torchvision lacks, is that of Touvron et al., *Training data-efficient image
//! transformers* (ICML 2021), under the same names. Nothing drops at random inside them, as published.
//!
//! The position embeddings and the class token are weights like any other to `@norm` and `@bias`: they decay with the rest.

use super::activations::Activations;
use super::code_paths::VIT;
use super::description::{Init, TensorId, TensorRole};
use super::layers::{Attention, BiasedConv2d, Dense, LayerNorm, Padding};
use super::network::{ArchSpec, Backbone, Network};
use super::pass::Pass;
use super::scope::{ConvSettings, Form, NormSettings, Scope};
use crate::autograd::Value;
use crate::code_path::CodePath;
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::code_paths::{ATTENTION, GELU, LAYER_NORM, TOKENS};

pub const SMALL_16: ArchSpec = ArchSpec {
    build: |options| build(options.name(), SMALL, options.image_size).with_head(options),
    code_paths: CODE_PATHS,
};
pub const BASE_16: ArchSpec = ArchSpec {
    build: |options| build(options.name(), BASE, options.image_size).with_head(options),
    code_paths: CODE_PATHS,
};

const CODE_PATHS: &[CodePath] = &[VIT, LAYER_NORM, GELU, ATTENTION, TOKENS];

/// The numbers of a token, and among how many heads they are shared.
#[derive(Clone, Copy)]
pub struct TransformerWidth {
    pub channels: usize,
    pub heads: usize,
}

pub const SMALL: TransformerWidth = TransformerWidth { channels: 384, heads: 6 };
pub const BASE: TransformerWidth = TransformerWidth { channels: 768, heads: 12 };

/// The side of a patch in pixels.
const PATCH: usize = 16;
const DEPTH: usize = 12;
/// The hidden numbers of a block's perceptron for each of a token.
const EXPANSION: usize = 4;
const EPS: f64 = 1e-6;

/// The layers are `conv_proj` (patches, class token and positions), `encoder.layers.encoder_layer_0` … `_11`, the last of
/// which ends in the class token, and `encoder.ln`; the head is `heads.head`.
struct VisionTransformer {
    patches: BiasedConv2d,
    class_token: TensorId,
    positions: TensorId,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

struct Block {
    norms: [LayerNorm; 2],
    attention: Attention,
    perceptron: [Dense; 2],
}

/// For square images of `image_size` pixels, a multiple of [`PATCH`].
fn build(arch: &str, width: TransformerWidth, image_size: usize) -> Backbone {
    let TransformerWidth { channels, heads } = width;
    // There is no batch normalisation here.
    let mut scope = Scope::new(arch, NormSettings { eps: EPS, momentum: 0.0 });
    scope.layer("conv_proj");
    let class_token = scope.tensor("class_token", vec![1, 1, channels], TensorRole::Weight, Init::Zeros);
    let patches = ConvSettings {
        inputs: 3,
        outputs: channels,
        kernel: PATCH,
        stride: PATCH,
        groups: 1,
        padding: Padding::Fixed(0),
    };
    // torchvision cuts its normal numbers off at ±2, some fifty deviations out: never.
    let fan_in = (3 * PATCH * PATCH) as f64;
    let patches = scope.biased_conv2d("conv_proj", patches, Init::Normal { std: fan_in.recip().sqrt() });
    let tokens = 1 + (image_size / PATCH).pow(2);
    let positions = vec![1, tokens, channels];
    let positions =
        scope.tensor("encoder.pos_embedding", positions, TensorRole::Weight, Init::Normal { std: 0.02 });
    scope.form(Form::Tokens);
    let mut blocks = Vec::new();
    for index in 0..DEPTH {
        let name = format!("encoder.layers.encoder_layer_{index}");
        scope.layer(&name);
        blocks.push(scope.within(&name, |scope| block(scope, channels, heads)));
    }
    scope.form(Form::Vector);
    scope.layer("encoder.ln");
    let norm = scope.layer_norm("encoder.ln", channels, EPS);
    let network = VisionTransformer { patches, class_token, positions, blocks, norm };
    Backbone { scope, network: Box::new(network), features: channels, head: "heads.head" }
}

fn block(scope: &mut Scope, channels: usize, heads: usize) -> Block {
    let before = scope.layer_norm("ln_1", channels, EPS);
    let attention = scope.within("self_attention", |scope| Attention {
        input: attention_input(scope, channels),
        output: scope.dense(
            "out_proj",
            [channels, channels],
            [Init::Uniform { bound: (channels as f64).recip().sqrt() }, Init::Zeros],
        ),
        heads,
    });
    let after = scope.layer_norm("ln_2", channels, EPS);
    let hidden = EXPANSION * channels;
    let mut layer = |name: &str, inputs, outputs| {
        let init = [xavier(inputs, outputs), Init::Normal { std: 1e-6 }];
        scope.dense(name, [inputs, outputs], init)
    };
    let perceptron = [layer("mlp.0", channels, hidden), layer("mlp.3", hidden, channels)];
    Block { norms: [before, after], attention, perceptron }
}

/// The layer for queries, keys and values, under PyTorch's names for `MultiheadAttention`.
fn attention_input(scope: &mut Scope, channels: usize) -> Dense {
    let (shape, init) = (vec![3 * channels, channels], xavier(channels, 3 * channels));
    let weight = scope.tensor("in_proj_weight", shape, TensorRole::Weight, init);
    scope.linear_layer(weight);
    Dense { weight, bias: scope.tensor("in_proj_bias", vec![3 * channels], TensorRole::Bias, Init::Zeros) }
}

/// Uniform, the variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010, §4.2.1).
fn xavier(inputs: usize, outputs: usize) -> Init {
    Init::Uniform { bound: (6.0 / (inputs + outputs) as f64).sqrt() }
}

impl Block {
    /// Of the last block only the class token is read: the rest of it need not be computed.
    fn forward(&self, pass: &mut Pass, x: &Value, last: bool) -> Result<Value> {
        let normal = pass.layer_norm(&self.norms[0], x)?;
        let normal = if last { pass.feature_map(normal) } else { normal };
        let attended = pass.attention(&self.attention, &normal)?;
        let (x, attended) = match last {
            true => (pass.first_token(x)?, pass.first_token(&attended)?),
            false => (x.clone(), attended),
        };
        let x = pass.pointwise(&self.attention.output, &attended, Activation::None, Some(&x))?;
        let normal = pass.layer_norm(&self.norms[1], &x)?;
        let [expand, project] = &self.perceptron;
        let hidden = pass.pointwise(expand, &normal, Activation::Gelu, None)?;
        pass.pointwise(project, &hidden, Activation::None, Some(&x))
    }
}

impl Network for VisionTransformer {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if index == 0 {
            let patches = pass.conv(&self.patches, &input)?;
            let [class_token, positions] = [self.class_token, self.positions].map(|id| pass.parameter(id));
            return pass.tokens(&patches, &class_token, &positions);
        }
        if let Some(block) = self.blocks.get(index - 1) {
            return block.forward(pass, &input, index == self.blocks.len());
        }
        pass.layer_norm(&self.norm, &input)
    }
}
