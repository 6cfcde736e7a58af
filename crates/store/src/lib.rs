//! Finished stages by key, attempts in progress, and the features of images.

pub mod features;
pub mod store;

#[cfg(test)]
use defrost_base::{Error, Result, random};
use defrost_base::{code_path, digest, error, events, regular_file};
use defrost_settings::pipeline;
