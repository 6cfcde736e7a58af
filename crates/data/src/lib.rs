//! Images: found, split, decoded, augmented, and batched.

pub mod data;

use defrost_base::{Error, Result, cells, code_path, digest, error, random, regular};
use defrost_kernels::ops;
use defrost_settings::pipeline;
