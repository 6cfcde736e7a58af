//! Weights by name: the caches that have them, and the network.

pub mod hub;

use defrost_base::{digest, error, events, sanitize};
use defrost_settings::pipeline;
