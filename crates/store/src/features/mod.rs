//! The feature cache: rows of numbers in immutable files, read through memory maps.
//!
//! A set is addressed by the description of its content, a row by the digest of its image. This module never
//! knows who computes the rows or what they mean. Everything is correct without locks: a file of rows appears by
//! one rename or not at all, and is used only if its bytes match its name. Deleting any of it costs time, never
//! a result.

pub mod code_paths;
mod segment;
mod set;
mod store;
#[cfg(test)]
mod tests;

pub use segment::SegmentWriter;
pub use set::{FeatureLookup, FeatureSet, RowLocation};
pub use store::{FeatureSetLock, FeatureStore};
