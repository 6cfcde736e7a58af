//! Freezing: resolves rules over names to a table of trainable parameters with phases and learning rates, and
//! proves that frozen tensors did not change.
//!
//! This module never changes weights and never trains; it opens weight files only to compare them.

mod adapters;
mod batch_norm;
mod freeze_summary;
mod param_groups;
mod phase;
mod proof;
mod table;
mod trainable;
mod unfreeze;
mod unfreeze_summary;

pub use freeze_summary::FreezeSummary;
pub use phase::FreezePhase;
pub use proof::{ChangedTensor, TensorChange, changed_tensors};
pub use table::{ParameterRow, ParameterTable, ParameterTotals};
pub use unfreeze_summary::UnfreezeSummary;

#[cfg(test)]
mod depth_tests;
#[cfg(test)]
mod tests;
