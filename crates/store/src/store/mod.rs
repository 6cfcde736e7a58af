//! Finished stages by key, stages in progress, and digests of files: what makes a rerun compute only what changed.
//!
//! Everything here is correct without locks: a result appears by one rename or not at all, and every file is checked
//! against its digest before it is believed. Locks only keep two processes from doing the same work; where there are none,
//! each works in an attempt of its own. The room knows nothing of training, pipelines or run directories, and never prints.

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
