//! The cache: finished stages by key, stages in progress, and digests of input files. A rerun computes only what
//! changed.
//!
//! Everything is correct without locks: a result appears by one rename or not at all, and every file is verified
//! against its digest before use. Locks only prevent double work; without them, each process works in its own
//! attempt. This module never depends on training, pipelines or run directories, and never prints.

mod attempt;
mod checkpoint;
mod continuation;
mod decodable_index;
pub mod disk;
mod input_index;
pub mod lock;
mod objects;
mod output;
#[cfg(test)]
mod tests;

pub use attempt::keys_in_use;
pub use attempt::{Attempt, AttemptRequest, AttemptStart};
pub use checkpoint::CheckpointFolder;
pub use continuation::{Continuation, EpochSeries};
pub use decodable_index::DecodableIndex;
pub use input_index::InputIndex;
pub use objects::{FinishedStage, GcHold, Lookup, Store, VariantRequest};
pub use output::write_output;
