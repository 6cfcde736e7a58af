//! The events of a run, their observers, and the request to stop.
//!
//! Computing code reports here and never knows who observes. Nothing here affects a result.

mod event;
mod interrupt;
mod scores;
mod step_timer;

pub use event::{Event, Fanout, NullObserver, Observer, StageOutcome, StopReason};
pub use interrupt::Interrupt;
pub use step_timer::{StepPosition, StepTimer};
