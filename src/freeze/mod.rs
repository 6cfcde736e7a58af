//! Freezing: from rules over names to a table of who trains at which learning rate, and the proof that the frozen stayed frozen.
//!
//! The room changes no weights and never trains; it opens weight files only to compare them.

mod batch_norm;
mod groups;
mod proof;
mod table;
mod trainable;

pub use proof::{Change, Moved, moved};
pub use table::{ParameterTable, Row, Totals};

#[cfg(test)]
mod tests;
