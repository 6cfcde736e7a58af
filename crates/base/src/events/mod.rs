//! The events of a run, their observers, and the request to stop.
//!
//! Computing code reports here and never knows who observes. Nothing here affects a result.

mod event;
mod interrupt;
mod pace;
mod scores;

pub use event::{Event, Fanout, Observer, Outcome, Quiet, Stopped};
pub use interrupt::Interrupt;
pub use pace::{Pace, Position};
