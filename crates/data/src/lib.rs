//! Images: listing, splitting, decoding, augmentation and batching.

pub mod data;

use defrost_base::{Error, Result, code_path, csv_cells, digest, error, random, regular_file};
use defrost_kernels::ops;
use defrost_ranks::ranks;
use defrost_settings::pipeline;
