//! Pictures, tables and the one-page report, as bytes.

pub mod report;

use defrost_base::{cells, code_path, digest, error, regular, visible};
use defrost_data::data;
use defrost_metrics::metrics;
use defrost_model::{freeze, model};
#[cfg(test)]
use defrost_settings::pipeline;
