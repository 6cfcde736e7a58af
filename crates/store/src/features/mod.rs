//! The feature cache: rows of numbers in immutable files, read through memory maps.
//!
//! A set is addressed by the description of its content, a row by the digest of its image. This module does not depend
//! on who computes the rows or what they mean. It is correct without locks: a file of rows appears by one atomic
//! rename. It is used only if its bytes match its name. Deleting any of these files costs time, never a result.

pub mod code_paths;
mod segment;
mod set;
mod store;
#[cfg(test)]
mod tests;

pub use segment::SegmentWriter;
pub use set::{FeatureLookup, FeatureSet, RowLocation};
pub use store::{FeatureSetLock, FeatureStore};
