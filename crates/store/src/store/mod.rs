//! The cache: finished stages by key, stages in progress, and digests of input files. A rerun computes only what
//! changed.
//!
//! Everything is correct without locks: a result appears by one rename or not at all, and every file is verified
//! against its digest before use. Locks only prevent double work; without them, each process works in its own
//! attempt. This module never depends on training, pipelines or run directories, and never prints.

mod attempt;
mod checkpoint;
pub mod disk;
mod inputs;
pub mod lock;
mod objects;
mod output;
mod sound;
#[cfg(test)]
mod tests;

pub use attempt::live_uses;
pub use attempt::{Attempt, Begun, Work};
pub use checkpoint::Checkpoint;
pub use inputs::InputIndex;
pub use objects::{Finished, Hold, Lookup, Store, Wanted};
pub use output::write_output;
pub use sound::SoundIndex;
