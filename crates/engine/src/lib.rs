//! Pipelines resolved into stages with cache keys, and the stages carried out.

pub mod bench;
pub mod estimate;
mod onnx;
pub mod plan;
mod protobuf;
pub mod run;
pub mod stage;

use defrost_base::{
    Error, Result, code_path, csv_cells, digest, error, events, random, regular_file, sanitize,
};
use defrost_data::data;
use defrost_kernels::{autograd, device, ops};
use defrost_metrics::metrics;
use defrost_model::{freeze, model, weights};
use defrost_ranks::ranks;
use defrost_report::report;
use defrost_settings::pipeline;
use defrost_store::{features, store};
use defrost_task::task;
use defrost_train::train;
