//! Figures, tables and the one-page report, as bytes.

pub mod report;

use defrost_base::{code_path, csv_cells, digest, error, regular_file, sanitize};
use defrost_data::data;
use defrost_metrics::metrics;
use defrost_model::{freeze, model};
use defrost_settings::pipeline;
