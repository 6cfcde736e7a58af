//! A leaf room: what happens while a pipeline runs, as values; who watches; and the wish to stop.
//!
//! Whoever computes reports here and knows nothing of who listens. Nothing in it enters a result.

mod event;
mod interrupt;
mod pace;
mod scores;

pub use event::{Event, Fanout, Observer, Outcome, Quiet, Stopped};
pub use interrupt::Interrupt;
pub use pace::{Pace, Position};
