//! Finished stages by key, attempts in progress, and the features of images.

pub mod features;
pub mod store;

use defrost_base::{code_path, digest, error, events, regular};
use defrost_settings::pipeline;
#[cfg(test)]
use defrost_base::{random, Error, Result};
