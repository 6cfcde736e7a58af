//! The image encoder of CLIP: Radford et al., *Learning Transferable Visual Models From Natural Language Supervision*
//! (ICML 2021), computed by candle-transformers, under the names of Hugging Face's transformers. Feature extractor only.
//!
//! The features are what the paper's linear probes use (§3.2): the class token behind its last normalisation, ahead of the
//! projection to the space that images share with texts.

use candle_transformers::models::clip::text_model::Activation;
use candle_transformers::models::clip::vision_model::{ClipVisionConfig, ClipVisionTransformer};

use super::candle_encoder::{CandleEncoder, EncoderSizes, declare_weight};
use super::code_paths::CLIP;
use super::network::{ArchSpec, Backbone};
use super::scope::{NormSettings, Scope};

pub const BASE_32: ArchSpec = ArchSpec {
    build: |options| build(options.name(), BASE_32_SIZES).with_head(options),
    code_paths: &[CLIP],
};

pub const BASE_32_SIZES: EncoderSizes =
    EncoderSizes { channels: 768, hidden: 3072, layers: 12, heads: 12, image: 224, patch: 32 };

const EPS: f64 = 1e-5;

/// What a published file has in addition to the image encoder.
const IGNORED: [&str; 5] = [
    "text_model",
    "text_projection",
    "visual_projection",
    "logit_scale",
    "vision_model.embeddings.position_ids",
];

/// One layer, `vision_model`; the head is `classifier`.
pub fn build(arch: &str, sizes: EncoderSizes) -> Backbone {
    let EncoderSizes { channels, hidden, layers, heads, image, patch } = sizes;
    // There is no batch normalisation here.
    let mut scope = Scope::new(arch, NormSettings { eps: EPS, momentum: 0.0 });
    scope.ignore(&IGNORED);
    scope.layer("vision_model");
    let tokens = 1 + sizes.patches();
    scope.within("vision_model", |scope| {
        scope.within("embeddings", |scope| {
            declare_weight(scope, "class_embedding", vec![channels]);
            declare_weight(scope, "patch_embedding.weight", vec![channels, 3, patch, patch]);
            declare_weight(scope, "position_embedding.weight", vec![tokens, channels]);
        });
        // Published so.
        scope.layer_norm("pre_layrnorm", channels, EPS);
        sizes.declare_layers(scope, EPS, ["self_attn", "layer_norm1", "mlp", "layer_norm2"]);
        scope.layer_norm("post_layernorm", channels, EPS);
    });
    let config = ClipVisionConfig {
        embed_dim: channels,
        activation: Activation::QuickGelu,
        intermediate_size: hidden,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        // Of the projection, which is not made.
        projection_dim: channels,
        num_channels: 3,
        image_size: image,
        patch_size: patch,
    };
    let network = CandleEncoder::new(scope.description(), sizes.multiply_adds(tokens), move |builder| {
        ClipVisionTransformer::new(builder.pp("vision_model"), &config)
    });
    Backbone { scope, network: Box::new(network), features: channels, head: "classifier" }
}
