//! The image encoder of SigLIP: Zhai et al., *Sigmoid Loss for Language Image Pre-Training* (ICCV 2023), computed by
//! candle-transformers, under the names of Hugging Face's transformers. Feature extractor only.
//!
//! The features are those that meet the texts': what the attention pooling, which is called `vision_model.head` and has nothing
//! to do with `@head`, makes of the patches.

use candle_nn::Activation;
use candle_transformers::models::siglip::{VisionConfig, VisionModel};

use super::candle_encoder::{CandleEncoder, EncoderSizes, INIT, declare_perceptron, declare_weight};
use super::code_paths::SIGLIP;
use super::description::{Init, TensorRole};
use super::network::{ArchSpec, Backbone};
use super::scope::{NormSettings, Scope};

pub const BASE_16: ArchSpec =
    ArchSpec { build: |options| build(options.name(), SIZES).with_head(options), code_paths: &[SIGLIP] };

const SIZES: EncoderSizes =
    EncoderSizes { channels: 768, hidden: 3072, layers: 12, heads: 12, image: 224, patch: 16 };

const EPS: f64 = 1e-6;

/// What a published file has in addition to the image encoder.
const IGNORED: [&str; 4] =
    ["text_model", "logit_scale", "logit_bias", "vision_model.embeddings.position_ids"];

/// One layer, `vision_model`; the head is `classifier`.
fn build(arch: &str, sizes: EncoderSizes) -> Backbone {
    let EncoderSizes { channels, hidden, layers, heads, image, patch } = sizes;
    // There is no batch normalisation here.
    let mut scope = Scope::new(arch, NormSettings { eps: EPS, momentum: 0.0 });
    scope.ignore(&IGNORED);
    scope.layer("vision_model");
    scope.within("vision_model", |scope| {
        scope.within("embeddings", |scope| {
            declare_weight(scope, "patch_embedding.weight", vec![channels, 3, patch, patch]);
            scope.tensor("patch_embedding.bias", vec![channels], TensorRole::Bias, Init::Zeros);
            declare_weight(scope, "position_embedding.weight", vec![sizes.patches(), channels]);
        });
        sizes.declare_layers(scope, EPS, ["layer_norm1", "self_attn", "layer_norm2", "mlp"]);
        scope.layer_norm("post_layernorm", channels, EPS);
        scope.within("head", |scope| declare_pooling(scope, channels, hidden));
    });
    let config = VisionConfig {
        hidden_size: channels,
        intermediate_size: hidden,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_channels: 3,
        image_size: image,
        patch_size: patch,
        hidden_act: Activation::GeluPytorchTanh,
        layer_norm_eps: EPS,
    };
    // The pooling's one query looks at keys and values of all patches.
    let pooling = 2 * (sizes.patches() + 1) * channels * channels + 2 * channels * hidden;
    let multiply_adds = sizes.multiply_adds(sizes.patches()) + pooling;
    let network = CandleEncoder::new(scope.description(), multiply_adds, move |builder| {
        VisionModel::new(&config, true, builder.pp("vision_model"))
    });
    Backbone { scope, network: Box::new(network), features: channels, head: "classifier" }
}

fn declare_pooling(scope: &mut Scope, channels: usize, hidden: usize) {
    declare_weight(scope, "probe", vec![1, 1, channels]);
    scope.within("attention", |scope| {
        declare_weight(scope, "in_proj_weight", vec![3 * channels, channels]);
        scope.tensor("in_proj_bias", vec![3 * channels], TensorRole::Bias, Init::Zeros);
        scope.dense("out_proj", [channels, channels], [INIT, Init::Zeros]);
    });
    scope.layer_norm("layernorm", channels, EPS);
    declare_perceptron(scope, channels, hidden);
}
