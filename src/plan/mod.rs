//! From a pipeline to stages with recipes and keys; names and patterns resolved; why a stage is stale.
//!
//! Planning reads inputs and the store, and never computes or writes a result.

pub mod parameters;
