//! How long the stages that are to be computed will take, and how much memory: a guess that is as good as what was
//! measured on this machine, or learnt from the runs before.
//!
//! A stage's work is cut into phases (features, steps, validation, …), each so many batches of a few pieces. What a piece
//! takes is measured once for each machine and kept beside the store; what a phase took in a run is kept too, and
//! believed more. Nothing here enters a recipe, a key or a file that must be the same every time, and nothing in it
//! keeps a clock.

mod calibration;
mod cost;
mod forecast;
mod learn;
mod measure;
mod phase;
mod pieces;
mod work;

pub use calibration::Calibration;
pub use cost::{Cost, Line};
pub use forecast::{Estimate, Source, forecast};
pub use learn::Learner;
pub use measure::{measure, missing};
pub use phase::{Machine, Phase, Reading, Workload};
pub use work::{Settings, workload};
