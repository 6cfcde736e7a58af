//! The training loop, optimizers, schedules and checkpoints. It knows no task and no file format.

pub mod train;

use defrost_base::{code_path, error, random};
#[cfg(feature = "cuda")]
use defrost_kernels::cuda;
use defrost_kernels::{autograd, device, ops};
use defrost_model::{freeze, model};
use defrost_settings::pipeline;
#[cfg(test)]
use defrost_model::weights;
#[cfg(test)]
use defrost_report::metrics;
