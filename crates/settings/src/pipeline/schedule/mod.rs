//! How the learning rate moves over a train stage: a file for each schedule, with its settings and its factor.
//!
//! A factor is a function of the settings and the number of a step alone. What depends on the course of training is
//! counted by the train loop.

mod constant;
mod cosine;
mod exponential;
mod kinds;
mod multi_step;
mod one_cycle;
mod polynomial;
mod reduce_on_plateau;
mod step;
#[cfg(test)]
mod tests;
mod warmup;

pub use constant::Constant;
pub use cosine::Cosine;
pub use exponential::Exponential;
pub use kinds::{Idle, Moment, Problem, Schedule, ScheduleSettings};
pub use multi_step::MultiStep;
pub use one_cycle::OneCycle;
pub use polynomial::Polynomial;
pub use reduce_on_plateau::ReduceOnPlateau;
pub use step::StepDecay;
pub use warmup::Warmup;
