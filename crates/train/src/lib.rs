//! The training loop, optimizers, schedules and checkpoints. It knows no task and no file format.

pub mod train;

#[cfg(test)]
use defrost_base::random;
use defrost_base::{code_path, error};
#[cfg(feature = "cuda")]
use defrost_kernels::cuda;
use defrost_kernels::{autograd, device, ops};
use defrost_metrics::metrics;
#[cfg(test)]
use defrost_model::weights;
use defrost_model::{freeze, model};
use defrost_ranks::ranks;
use defrost_settings::pipeline;
