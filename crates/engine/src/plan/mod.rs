//! From a pipeline to stages with recipes and keys; names and patterns resolved; why a stage is stale.
//!
//! Planning reads inputs and the store, and never computes or writes a result.

mod data;
mod datasets;
mod ensemble;
mod external_weights;
mod inputs;
mod planned;
mod reason;
mod recipe;
mod resolve;
mod shared;
mod splits;
mod status;
mod subsets;
mod teacher;
mod training;
mod weights;

pub use data::{CheckedImages, ClassWithoutImages, UndecodableImages, data_warnings, decode_all};
pub use external_weights::{ExternalWeights, fetch};
pub use inputs::InputDigester;
pub use planned::{Plan, PlanEntry};
pub use recipe::key;
pub use resolve::{DiskAccess, ParentStage, StageDraft, resolve, resolve_shared};
pub use shared::SharedInputs;
pub use status::{PreviousStage, StageStatus, Status, statuses};
