//! Freezing: resolves rules over names to a table of trainable parameters with phases and learning rates, and
//! proves that frozen tensors did not change.
//!
//! This module never changes weights and never trains; it opens weight files only to compare them.

mod batch_norm;
mod groups;
mod joining;
mod phase;
mod proof;
mod table;
mod trainable;
mod unfreeze;

pub use joining::Joining;
pub use phase::Phase;
pub use proof::{Change, Moved, moved};
pub use table::{ParameterTable, Row, Totals};

#[cfg(test)]
mod tests;
