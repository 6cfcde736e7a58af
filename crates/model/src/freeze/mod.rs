//! Freezing: from rules over names to a table of who trains when, at which learning rate, and the proof that the frozen stayed frozen.
//!
//! The room changes no weights and never trains; it opens weight files only to compare them.

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
