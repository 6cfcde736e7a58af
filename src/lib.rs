//! defrost: declarative transfer learning. What the file says is what happened.
//!
//! A pipeline file is read by [`pipeline`], resolved by [`plan`] into stages with recipes and keys, and carried out by
//! [`run`], which asks [`stage`] for each one's work and keeps the results in [`store`]. A train stage joins [`data`]
//! (images to batches), [`model`] (architectures), [`freeze`] (who trains) and [`train`] (the loop), all computing
//! through [`ops`] on the tape of [`autograd`]. [`weights`] reads and writes tensors, [`metrics`] and [`report`] say how
//! it went, and [`events`] tells whoever watches. [`features`] keeps what frozen layers say of an image, [`memory`] is the
//! program's allocator, [`device`] says where to compute, [`bench`] times what stages are made of, and [`estimate`] says from it what they will take.
//!
//! Floors run one way: `run → plan → stage → train · report → freeze · metrics → weights · model · data → ops → autograd`.
//! `pipeline`, `cells`, `code_path`, `digest`, `regular`, `random`, `memory`, `events`, `error` and `visible` are leaves; `store` stands on these alone, for `plan` and
//! `run`, and `features` on it; `bench` stands on `stage`. The library never prints, exits or reads the environment.

pub mod autograd;
pub mod bench;
pub mod cells;
pub mod code_path;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod data;
pub mod device;
pub mod digest;
pub mod error;
pub mod estimate;
pub mod events;
pub mod features;
pub mod freeze;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod pipeline;
pub mod plan;
pub mod random;
pub mod regular;
pub mod report;
pub mod run;
pub mod stage;
pub mod store;
pub mod train;
pub mod visible;
pub mod weights;

pub use error::{Error, Result};
