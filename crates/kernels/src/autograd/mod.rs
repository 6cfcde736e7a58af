//! The tape: reverse-mode differentiation over a closed set of operations.
//!
//! An operation is recorded together with its [`Backward`], so one without a gradient cannot be recorded.
//! Constants cost nothing: an operation whose inputs are all constants is not recorded, and no gradient is
//! computed for a constant. This module never depends on layers, parameter names or optimizers.

mod accumulate;
mod tape;

pub use tape::{Backward, BackwardOfSeveral, Gradients, Tape, Value};
