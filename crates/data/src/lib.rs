//! Images: found, split, decoded, augmented, and batched.

pub mod data;

use defrost_base::{Error, Result, code_path, csv_cells, digest, error, random, regular_file};
use defrost_kernels::ops;
use defrost_settings::pipeline;
