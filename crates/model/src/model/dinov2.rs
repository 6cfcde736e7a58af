//! DINOv2: Oquab et al., *DINOv2: Learning Robust Visual Features without Supervision* (TMLR 2024), under the names of
//! facebookresearch's checkpoints, which are timm's too. Feature extractor only: its features are the class token.
//!
//! It has position embeddings for 37 × 37 patches, and makes those for other images of them: `positions.rs`.

use super::activations::Activations;
use super::code_paths::DINOV2;
use super::description::{Init, TensorId, TensorRole};
use super::layers::{Attention, BiasedConv2d, Dense, LayerNorm, Padding};
use super::network::{ArchSpec, Backbone, BuildOptions, Network};
use super::pass::Pass;
use super::positions;
use super::scope::{ConvSettings, Form, NormSettings, Scope};
use super::vit::{BASE, SMALL, TransformerWidth};
use crate::autograd::Value;
use crate::code_path::CodePath;
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::code_paths::{ATTENTION, GELU, LAYER_NORM, LAYER_SCALE, TOKENS};
use crate::pipeline::PositionResampling;

pub const SMALL_14: ArchSpec =
    ArchSpec { build: |options| build(options, SMALL, 12).with_head(options), code_paths: CODE_PATHS };
pub const BASE_14: ArchSpec =
    ArchSpec { build: |options| build(options, BASE, 12).with_head(options), code_paths: CODE_PATHS };
pub const LARGE_14: ArchSpec =
    ArchSpec { build: |options| build(options, LARGE, 24).with_head(options), code_paths: CODE_PATHS };

const CODE_PATHS: &[CodePath] = &[DINOV2, LAYER_NORM, GELU, ATTENTION, TOKENS, LAYER_SCALE];
const LARGE: TransformerWidth = TransformerWidth { channels: 1024, heads: 16 };

/// The side of a patch in pixels.
const PATCH: usize = 14;
/// How many patches an image of pretraining's last phase has along each side.
const SIDE: usize = 37;
const EXPANSION: usize = 4;
const EPS: f64 = 1e-6;
const INIT: Init = Init::Normal { std: 0.02 };

/// What pretraining alone uses.
const IGNORED: [&str; 1] = ["mask_token"];

/// The layers are `patch_embed` (patches, class token and positions), the blocks `blocks.0` …, the last of which ends in
/// the class token, and `norm`; the head is `head`.
struct DinoV2 {
    class_token: TensorId,
    positions: TensorId,
    resampling: PositionResampling,
    patches: BiasedConv2d,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

struct Block {
    norms: [LayerNorm; 2],
    attention: Attention,
    perceptron: [Dense; 2],
    /// Of what attention and perceptron add.
    gains: [TensorId; 2],
}

/// `depth` is the number of blocks.
fn build(options: &BuildOptions, width: TransformerWidth, depth: usize) -> Backbone {
    let TransformerWidth { channels, heads } = width;
    // There is no batch normalisation here.
    let mut scope = Scope::new(options.name(), NormSettings { eps: EPS, momentum: 0.0 });
    scope.ignore(&IGNORED);
    scope.layer("patch_embed");
    let class_token = scope.tensor("cls_token", vec![1, 1, channels], TensorRole::Weight, INIT);
    let positions = scope.tensor("pos_embed", vec![1, 1 + SIDE * SIDE, channels], TensorRole::Weight, INIT);
    let patches = ConvSettings {
        inputs: 3,
        outputs: channels,
        kernel: PATCH,
        stride: PATCH,
        groups: 1,
        padding: Padding::Fixed(0),
    };
    let patches = scope.biased_conv2d("patch_embed.proj", patches, INIT);
    scope.form(Form::Tokens);
    let mut blocks = Vec::new();
    for index in 0..depth {
        let name = format!("blocks.{index}");
        scope.layer(&name);
        blocks.push(scope.within(&name, |scope| block(scope, channels, heads)));
    }
    scope.form(Form::Vector);
    scope.layer("norm");
    let norm = scope.layer_norm("norm", channels, EPS);
    let resampling = options.settings.position_resampling;
    let network = DinoV2 { class_token, positions, resampling, patches, blocks, norm };
    Backbone { scope, network: Box::new(network), features: channels, head: "head" }
}

fn block(scope: &mut Scope, channels: usize, heads: usize) -> Block {
    let dense = |scope: &mut Scope, name: &str, inputs, outputs| {
        scope.dense(name, [inputs, outputs], [INIT, Init::Zeros])
    };
    let gain = |scope: &mut Scope, name: &str| {
        scope.tensor(name, vec![channels], TensorRole::Weight, Init::Constant { value: 1e-5 })
    };
    let hidden = EXPANSION * channels;
    let before = scope.layer_norm("norm1", channels, EPS);
    let input = dense(scope, "attn.qkv", channels, 3 * channels);
    let output = dense(scope, "attn.proj", channels, channels);
    let first = gain(scope, "ls1.gamma");
    let after = scope.layer_norm("norm2", channels, EPS);
    let perceptron = [dense(scope, "mlp.fc1", channels, hidden), dense(scope, "mlp.fc2", hidden, channels)];
    let second = gain(scope, "ls2.gamma");
    Block {
        norms: [before, after],
        attention: Attention { input, output, heads },
        perceptron,
        gains: [first, second],
    }
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
        let y = pass.pointwise(&self.attention.output, &attended, Activation::None, None)?;
        let x = pass.layer_scale(&y, self.gains[0], &x, 0.0)?;
        let normal = pass.layer_norm(&self.norms[1], &x)?;
        let [expand, project] = &self.perceptron;
        let hidden = pass.pointwise(expand, &normal, Activation::Gelu, None)?;
        let y = pass.pointwise(project, &hidden, Activation::None, None)?;
        pass.layer_scale(&y, self.gains[1], &x, 0.0)
    }
}

impl Network for DinoV2 {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if index == 0 {
            let patches = pass.conv(&self.patches, &input)?;
            let (_, height, width, _) = patches.tensor().dims4()?;
            let positions = pass.frozen(self.positions)?;
            let positions = positions::resized(positions, SIDE, [height, width], self.resampling)?;
            let class_token = pass.parameter(self.class_token);
            return pass.tokens(&patches, &class_token, &Value::constant(positions));
        }
        if let Some(block) = self.blocks.get(index - 1) {
            return block.forward(pass, &input, index == self.blocks.len());
        }
        pass.layer_norm(&self.norm, &input)
    }
}
