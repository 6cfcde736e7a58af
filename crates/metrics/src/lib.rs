//! Metrics: from predictions and embeddings to scores, and what each score is called.

pub mod metrics;

use defrost_base::{code_path, error, random};
use defrost_kernels::ops;
