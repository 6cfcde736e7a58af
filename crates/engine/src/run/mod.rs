//! Executes plans in run directories: files, state, events, and verification.
//!
//! A run directory is a value: it contains everything that it refers to, and can be packed, moved and deleted
//! alone. All its files except the logs have the same bytes for the same pipeline and inputs. This module never
//! prints, and never reads a clock itself.

mod broken;
mod compare;
mod complete;
mod directory;
mod earlier;
mod embed;
mod execute;
mod garbage;
mod locate;
mod overlay;
mod overview;
mod predict;
mod record;
mod recorder;
mod report;
mod request;
mod results;
mod runner;
mod selection;
#[cfg(test)]
mod tests;
mod verify;

pub use crate::events::{Event, Fanout, Interrupt, Observer, Outcome, Quiet};
pub use compare::{Comparison, compare};
pub use directory::{RunDirectory, State};
pub use earlier::earlier_stages;
pub use embed::{Embedded, image_files};
pub use execute::execute;
pub use garbage::{Garbage, Survey, free, survey};
pub use locate::{all_runs, resolve_run, resolve_runs, runs_root, runs_root_from};
pub use overlay::{Averaged, overlay};
pub use overview::{Failure, Monitored, RunSummary, StageSummary, StepProgress, list, summarize};
pub use predict::{Predictor, Wanted};
pub use record::{RunRecord, StageRecord};
pub use recorder::{Recorder, happened};
pub use report::report_data;
pub use request::{Ended, Options, StageSummary as Done, Summary, Texts};
pub use selection::selected;
pub use verify::{FrozenProof, Problem, Verification, verify};
