//! defrost: declarative transfer learning. What the file says is what happened.
//!
//! A pipeline file is read by [`pipeline`], resolved by [`plan`] into stages with recipes and keys, and carried out by
//! [`run`], which asks [`stage`] for each one's work and keeps the results in [`store`]. A train stage joins [`data`]
//! (images to batches), [`model`] (architectures), [`freeze`] (who trains), [`task`] (targets, losses and scores) and [`train`] (the loop), all computing
//! through [`ops`] on the tape of [`autograd`]. [`weights`] reads and writes tensors, [`metrics`] and [`report`] say how
//! it went, and [`events`] tells whoever watches. [`features`] keeps what frozen layers say of an image, [`memory`] is the
//! program's allocator, [`device`] says where to compute, [`bench`] times what stages are made of, and [`estimate`] says from it what they will take.
//!
//! Floors run one way: `run → plan → stage → task → train · report → freeze · metrics → weights · model · data → ops → autograd`.
//! `pipeline`, `cells`, `code_path`, `digest`, `regular`, `random`, `memory`, `events`, `error` and `visible` are leaves; `store` stands on these alone, for `plan` and
//! `run`, and `features` on it; `bench` stands on `stage`. The library never prints, exits or reads the environment.

pub use defrost_base::{code_path, csv_cells, digest, error, events, memory, random, regular_file, sanitize};
pub use defrost_data::data;
pub use defrost_engine::{bench, estimate, plan, run, stage};
#[cfg(feature = "cuda")]
pub use defrost_kernels::cuda;
pub use defrost_kernels::{autograd, device, ops};
pub use defrost_metrics::metrics;
pub use defrost_model::{freeze, model, weights};
pub use defrost_report::report;
pub use defrost_settings::pipeline;
pub use defrost_store::{features, store};
pub use defrost_task::task;
pub use defrost_train::train;

pub use error::{Error, Result};
