//! Architectures, their weights in files, and which parameters train.

pub mod freeze;
pub mod model;
pub mod weights;

#[cfg(test)]
use defrost_base::Result;
use defrost_base::{code_path, digest, error, random, regular_file, sanitize};
#[cfg(feature = "cuda")]
use defrost_kernels::cuda;
use defrost_kernels::{autograd, device, ops};
use defrost_settings::pipeline;
