//! Several processes that compute one run, and the bytes between them.

pub mod ranks;

use defrost_base::error;
