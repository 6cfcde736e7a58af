//! Images: found, split, decoded, augmented, and batched.

pub mod data;

use defrost_base::{cells, code_path, digest, error, random, regular, Error, Result};
use defrost_kernels::ops;
use defrost_settings::pipeline;
#[cfg(test)]
use defrost_train::train;
