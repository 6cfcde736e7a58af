//! The tape: reverse-mode differentiation over a closed set of operations.
//!
//! An operation reaches the tape only by handing over its [`Backward`], so one without a gradient cannot be recorded.
//! A constant costs nothing: an operation whose inputs are all constants leaves no trace, and no gradient is ever
//! computed towards a constant. The room knows no layers, names or optimizers.

mod accumulate;
mod tape;

pub use tape::{Backward, Gradients, Tape, Value};
