//! Tasks: targets, loss, scores, predictions and files, with one folder per task.

pub mod task;

#[cfg(test)]
use defrost_base::random;
use defrost_base::{code_path, csv_cells, digest, error, sanitize};
use defrost_data::data;
use defrost_kernels::{autograd, ops};
use defrost_metrics::metrics;
use defrost_model::model;
#[cfg(test)]
use defrost_model::{freeze, weights};
use defrost_report::report;
use defrost_settings::pipeline;
use defrost_train::train;
