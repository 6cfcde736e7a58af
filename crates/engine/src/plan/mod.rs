//! From a pipeline to stages with recipes and keys; names and patterns resolved; why a stage is stale.
//!
//! Planning reads inputs and the store, and never computes or writes a result.

mod data;
mod datasets;
mod elsewhere;
mod ensemble;
mod inputs;
mod planned;
mod reason;
mod recipe;
mod resolve;
mod splits;
mod status;
mod teacher;
mod training;
mod weights;

pub use data::{BrokenData, LostClass, data_warnings, decode_all};
pub use elsewhere::{Elsewhere, fetch};
pub use planned::{Plan, Planned};
pub use recipe::key;
pub use resolve::{Depth, Draft, Parent, resolve};
pub use status::{Earlier, StageStatus, Status, statuses};
