//! The numeric code paths of operations. A change that alters results needs a higher version.

use crate::code_path::{CodePath, code_paths};

code_paths! {
    CONV2D = "conv2d", 2;
    BATCH_NORM = "batch_norm", 1;
    POOLING = "pooling", 1;
    LINEAR = "linear", 1;
    ELEMENTWISE = "elementwise", 1;
    SILU = "silu", 2;
    SCALE_CHANNELS = "scale_channels", 1;
    CROSS_ENTROPY = "cross_entropy", 1;
    SOFTMAX = "softmax", 1;
    DROPOUT = "dropout", 1;
    CLASS_LOSS = "class_loss", 1;
    FOCAL = "focal", 1;
    MARGIN = "margin", 1;
    DISTILLATION = "distillation", 1;
    NORMALIZE_ROWS = "normalize_rows", 1;
    STOCHASTIC_DEPTH = "stochastic_depth", 1;
    LAYER_NORM = "layer_norm", 1;
    GELU = "gelu", 1;
    ATTENTION = "attention", 1;
    LAYER_SCALE = "layer_scale", 1;
    TOKENS = "tokens", 1;
    BINARY_CROSS_ENTROPY = "binary_cross_entropy", 1;
    SIGMOID = "sigmoid", 1;
    DETECTION_LOSS = "detection_loss", 1;
    DETECTION_DECODE = "detection_decode", 1;
    DETECTION_DISTILLATION = "detection_distillation", 1;
    CONCAT = "concat", 1;
    UPSAMPLE = "upsample", 1;
    ATTENTION_QKV = "attention_qkv", 1;
    NT_XENT = "nt_xent", 1;
    TRIPLET = "triplet", 1;
    SUPCON = "supcon", 1;
    /// With its gate, the hard sigmoid.
    HARD_SWISH = "hard_swish", 1;
    /// Attention in windows, and the windows.
    WINDOW_ATTENTION = "window_attention", 1;
    /// Linear layers with low-rank adapters.
    LOW_RANK = "low_rank", 1;
}

/// In the recipe of every stage that runs a model, whether or not its architecture uses the operation. Code
/// paths added later enter only the recipes of stages that use them.
pub const COMMON: &[CodePath] = &[
    CONV2D,
    BATCH_NORM,
    POOLING,
    LINEAR,
    ELEMENTWISE,
    SILU,
    SCALE_CHANNELS,
    CROSS_ENTROPY,
    SOFTMAX,
    DROPOUT,
];
