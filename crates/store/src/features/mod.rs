//! Rows of numbers by the digest of what they were computed from: kept in immutable files, read through memory maps.
//!
//! A set of features is addressed by what its rows are made of, a row by its image; who computes them and what they
//! mean is not known here. Everything is correct without locks: a segment of rows appears by one rename or not at all,
//! and is used only while its bytes are those it is named by. Deleting any of it costs time, never a result.

pub mod code_paths;
mod segment;
mod set;
mod store;
#[cfg(test)]
mod tests;

pub use segment::Rows;
pub use set::{FeatureSet, Found, Place};
pub use store::{FeatureStore, Lock};
