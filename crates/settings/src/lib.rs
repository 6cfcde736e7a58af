//! The pipeline file: the types of its settings, its JSON Schema, its checks and diagnostics.

pub mod pipeline;

use defrost_base::{error, random, regular_file, sanitize};
