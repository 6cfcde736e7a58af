//! Executes plans in run directories: files, state, events, and verification.
//!
//! A run directory is a value: it contains everything that it refers to, and can be packed, moved and deleted
//! alone. All its files except the logs have the same bytes for the same pipeline and inputs. This module never
//! prints, and never reads a clock itself.

mod already_complete;
mod box_check;
mod comparison;
mod decisions;
mod decode_failures;
mod diff;
mod directory;
mod embed;
mod evaluated;
mod event_log;
mod execute;
mod export;
mod gc;
mod label_check;
mod live;
mod locate;
mod orders;
mod out_of_fold;
mod output_names;
mod predict;
mod prediction_folder;
mod predictions;
mod previous_run;
mod record;
mod report;
mod request;
mod results;
mod runner;
mod sample_images;
mod search;
mod selection;
mod shared_stages;
mod sorted_copies;
mod stage_images;
mod submission;
mod summary;
mod tensorboard;
#[cfg(test)]
mod tests;
mod times;
mod verify;

pub use crate::events::{Event, Fanout, Interrupt, NullObserver, Observer, StageOutcome};
pub use comparison::{
    AveragedSettings, BestRuns, CompareOptions, ComparedSheet, best_runs, compare_runs, compared_sheets,
};
pub use decisions::{ClassThreshold, decisions, evaluated_checkpoint};
pub use diff::{RunDiff, diff};
pub use directory::{RunDirectory, RunState};
pub use embed::{EmbeddedFiles, image_files};
pub use event_log::{EventLog, read_events};
pub use execute::execute;
pub use gc::{GcSurvey, RemovableItem, free, survey};
pub use label_check::{LabelCheck, check_labels};
pub use live::{RunWatch, epochs};
pub use locate::{all_runs, resolve_run, resolve_runs, runs_root, runs_root_from};
pub use orders::{FollowOptions, Order, StageOrder};
pub use out_of_fold::out_of_fold;
pub use predict::{Predictor, PredictorUse};
pub use prediction_folder::{DrawnFiles, PredictionFolder};
pub use predictions::{PredictedImage, PredictionSettings, Predictions, TileSettings};
pub use previous_run::{EarlierRuns, changes_since_previous};
pub use record::{RunRecord, StageRecord};
pub use report::report_data;
pub use request::{PipelineTexts, RunOptions, RunResult, StageEnd, StageResult as Done};
pub use search::{
    RungSample, SampleOutcome, going_on, metric_name, ranked, read_search, search_report, write_search,
};
pub use selection::selected;
pub use shared_stages::{RunStages, SharedTask, kept_features, shared_first};
pub use sorted_copies::SortedCopies;
pub use submission::{
    Submission, SubmissionRecord, SubmittedArray, SubmittedRun, SubmittedTask, TaskReport, TaskState,
    submissions,
};
pub use summary::{
    MonitoredBest, RunFailure, RunSummary, RunsOfName, StageOverview, StepProgress, list, summarize,
};
pub use times::run_times;
pub use verify::{FrozenProof, VerifyProblem, VerifyReport, verify};
