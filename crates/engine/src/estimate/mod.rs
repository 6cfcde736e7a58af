//! Estimates of duration and memory of the stages to be computed, from measurements on this machine and from
//! earlier runs.
//!
//! A stage's work is split into phases (features, steps, validation, …), each with batches of a few probes. The
//! cost of a probe is measured once per machine and kept in the store. The duration of phases in runs is kept
//! too, and preferred. Nothing here affects a recipe, a key or a deterministic file, and nothing reads a clock.

mod calibration;
mod cost;
mod forecast;
mod learn;
mod measure;
mod probes;
mod stage_workload;
mod workload;

pub use calibration::Calibration;
pub use cost::{BatchCost, LinearCost};
pub use forecast::{Estimate, EstimateSource, forecast};
pub use learn::Learner;
pub use measure::{measure, missing};
pub use stage_workload::{EstimateSettings, workload};
pub use workload::{ImageReads, ThreadCounts, Workload, WorkloadPhase};
