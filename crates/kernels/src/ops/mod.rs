//! The differentiable operations: one file each with the CPU half, and `cuda.rs` below it with the GPU half.
//!
//! Activations are contiguous and channels-last, [N, H, W, C] or [N, C]; convolution weights are [O, I, kH, kW]
//! as in files. f32 is the working type; every operation also runs in f64, for tests.
//!
//! Guarantees: in inference, the result of a row depends neither on batch size, nor position in the batch, nor
//! threads. In training, the result does not depend on the number of threads. The shape alone decides how work
//! is split. Operations never depend on layers.

mod activation;
mod activation_fn;
mod add;
mod attention;
mod attention_heads;
mod attention_qkv;
mod attention_rows;
mod average_pool;
mod batch_norm;
mod binary_cross_entropy;
pub mod buffer;
mod channel_sums;
mod channels;
mod class_loss;
pub mod code_paths;
mod concat;
pub mod conv2d;
mod cross_entropy;
#[cfg(all(test, feature = "cuda"))]
mod cuda_tests;
mod deferred;
mod detection;
mod distillation;
mod dropout;
mod exponential;
pub mod float;
mod focal;
pub mod gemm;
mod in_f32;
mod layer_norm;
mod layer_scale;
mod linear;
mod low_rank;
mod margin;
mod max_pool;
pub mod multiversion;
mod normal;
mod normalize_rows;
mod nt_xent;
pub mod on_cuda;
mod on_host;
pub mod profile;
mod row_sums;
mod scale_channels;
mod sigmoid;
mod softmax;
mod softplus;
mod spin_guard;
mod stochastic_depth;
mod supcon;
pub mod testing;
mod tokens;
mod triplet;
mod unit_rows;
mod upsample;
pub mod vector;
#[cfg(target_arch = "x86_64")]
mod vector_x86;
mod window_attention;
mod windows;

pub use activation::activation;
pub use activation_fn::Activation;
pub use add::add;
pub use attention::attention;
pub use attention_qkv::attention_qkv;
pub use average_pool::global_average_pool;
pub use batch_norm::{BatchStatistics, batch_norm_frozen, batch_norm_training, update_running_statistic};
pub use binary_cross_entropy::binary_cross_entropy;
pub use class_loss::{ClassLoss, Mixture, WeightedLoss, class_loss};
pub use concat::{concat, split_channels};
pub use conv2d::{FoldedConv, FoldedNorm, conv2d, pointwise};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use deferred::Deferred;
pub use detection::{
    DecodedBoxes, DetectionDistillation, DetectionGains, DetectionLevel, DetectionLoss, DistillationGains,
    TargetBox, decode, detection_distillation, detection_loss,
};
pub use distillation::{blend_losses, distillation};
pub use dropout::dropout;
pub use focal::Focal;
pub use in_f32::in_f32;
pub use layer_norm::layer_norm;
pub use layer_scale::layer_scale;
pub use linear::linear;
pub use low_rank::{low_rank_sum, scale};
pub use margin::{Margin, MarginLoss};
pub use max_pool::max_pool2d;
pub use normalize_rows::normalize_rows;
pub use nt_xent::{ContrastiveLoss, PairStatistics, nt_xent};
pub use scale_channels::scale_channels;
pub use sigmoid::sigmoid;
pub use softmax::softmax;
pub use spin_guard::SpinGuard;
pub use stochastic_depth::stochastic_depth;
pub use supcon::supcon;
pub use tokens::{first_token, tokens};
pub use triplet::{AnchorStatistics, MetricLoss, TripletMargin, triplet};
pub use upsample::upsample_nearest;
pub use window_attention::{biases_of_windows, window_attention};
pub use windows::{WindowGrid, from_windows, merge_patches, windows};

/// A window over an image: kernel, stride, and zero padding on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// top, left, bottom, right
    pub padding: [usize; 4],
}

impl Window {
    /// The number of window positions along the height and width of an image.
    pub fn outputs(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let [top, left, bottom, right] = self.padding;
        let padded = [height + top + bottom, width + left + right];
        std::array::from_fn(|axis| padded[axis].saturating_sub(self.kernel[axis]) / self.stride[axis] + 1)
    }
}
