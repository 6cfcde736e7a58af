//! defrost: declarative transfer learning. This crate is the program's library: it re-exports the workspace's
//! crates.
//!
//! [`pipeline`] reads a pipeline file, [`plan`] resolves it into stages with recipes and keys, and [`run`]
//! executes the stages of [`stage`] and keeps their results in [`store`]. A train stage combines [`data`]
//! (batches of images), [`model`] (architectures), [`freeze`] (trainable parameters), [`task`] (targets, losses
//! and scores) and [`train`] (the loop). All computation goes through [`ops`] on the tape of [`autograd`].
//! [`weights`] reads and writes tensors, [`metrics`] and [`report`] describe results, and [`events`] carries
//! what happens to observers. [`ranks`] lets several processes compute one run. [`hub`] fetches weights by name. [`features`] caches the output of frozen layers, [`memory`] is the program's
//! allocator, [`device`] selects where to compute, [`bench`] times parts of stages, and [`estimate`] predicts
//! durations from that.
//!
//! Imports run in one direction: `run → plan → stage → task → train · report → freeze · metrics → weights ·
//! model · data → ops → autograd`. `pipeline`, `csv_cells`, `code_path`, `digest`, `regular_file`, `random`,
//! `memory`, `events`, `ranks`, `error` and `sanitize` import no other module but each other. The library never prints,
//! exits or reads the environment.

pub use defrost_base::{code_path, csv_cells, digest, error, events, memory, random, regular_file, sanitize};
pub use defrost_data::data;
pub use defrost_engine::{bench, estimate, plan, run, stage};
pub use defrost_hub::hub;
#[cfg(feature = "cuda")]
pub use defrost_kernels::cuda;
pub use defrost_kernels::{autograd, device, ops};
pub use defrost_metrics::metrics;
pub use defrost_model::{freeze, model, weights};
pub use defrost_ranks::ranks;
pub use defrost_report::report;
pub use defrost_settings::pipeline;
pub use defrost_store::{features, store};
pub use defrost_task::task;
pub use defrost_train::train;

pub use error::{Error, Result};
