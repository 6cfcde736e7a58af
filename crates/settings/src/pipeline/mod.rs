//! The pipeline language: the settings of a pipeline file, and the checks that need no data and no weights.
//!
//! [`load`] parses a file into a tree of settings with their positions (`document`). It merges `extends`, `[defaults]` and
//! `--set` (`merge`, `overrides`), checks the tree against the schema that the types generate (`schema`, `schema_check`),
//! and checks what no schema can express (`graph`, `semantic_checks`, `paths`). One [`DiagnosticReport`] has all errors of
//! a file.
//!
//! Every module may import this one; it imports only `error`. It never prints, and reads environment variables through a
//! function that it is given. Checks that need the names of parameters or classes are in `plan`.

mod adapted_weights;
mod adapter;
mod arch;
mod augment;
mod boxed_images;
mod class_weights;
mod coco;
mod composition;
mod data;
mod data_checks;
mod decision_checks;
mod decisions;
mod diagnostic_report;
mod diagnostics;
mod distill;
mod document;
mod effect_checks;
mod entries;
mod external_weights;
mod frozen;
mod graph;
mod group_checks;
mod images;
mod label_checks;
mod label_kind;
mod load;
mod loss;
mod matrix;
mod merge;
mod model;
mod names;
mod normalize;
mod optimizer;
mod override_help;
mod overrides;
mod paths;
mod pattern;
mod pixel_checks;
mod pixels;
mod preset;
mod recognition;
mod remote_weights;
mod resolved;
pub mod run_label;
mod run_settings;
mod sampler;
mod sampler_checks;
mod schedule;
mod schedule_checks;
mod schema;
mod schema_check;
mod search;
mod semantic_checks;
mod slurm;
mod source_text;
mod stage;
mod subset_checks;
mod subsets;
pub mod suggest;
pub mod synonyms;
mod syntax;
mod table;
mod test_time_augmentation;
#[cfg(test)]
mod tests;
mod training;
mod unchecked;
mod voc;
mod yolo;

pub use adapted_weights::{ClassRows, FirstConv, RestoreBatchNorm};
pub use adapter::Adapter;
pub use arch::architectures;
pub use arch::{Arch, ImageSizes};
pub use augment::*;
pub use boxed_images::Difficult;
pub use class_weights::ClassWeights;
pub use coco::{Coco, CocoSplit};
pub use composition::*;
pub use data::*;
pub use decisions::*;
pub use diagnostic_report::DiagnosticReport;
pub use diagnostics::Diagnostic;
pub use distill::Distill;
pub use external_weights::ExternalStage;
pub use frozen::FrozenRun;
pub use images::*;
pub use label_kind::LabelKind;
pub use load::{LoadOptions, load, load_all, load_without_patterns};
pub use loss::*;
pub use model::*;
pub use normalize::Normalize;
pub use optimizer::*;
pub use paths::read as read_text;
pub use pattern::{Pattern, PatternAlias, PatternError};
pub use pixels::{Color, Encoding, LogChromaticity, RGB_CHANNELS};
pub use preset::Preset;
pub use recognition::*;
pub use remote_weights::{FetchedWeights, HubWeights, NameError, RemoteWeights, is_commit};
pub use resolved::Resolved;
pub use run_settings::*;
pub use sampler::*;
pub use schedule::*;
pub use schema::schema;
pub use search::{RunOfSearch, Search, SearchedSetting};
pub use slurm::{Slurm, refused_option};
pub use stage::*;
pub use subsets::*;
pub use table::*;
pub use test_time_augmentation::TestTimeAugmentation;
pub use training::*;
pub use voc::{Voc, VocSplit};
pub use yolo::Yolo;
