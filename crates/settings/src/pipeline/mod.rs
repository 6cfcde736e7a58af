//! The pipeline language: the settings of a pipeline file, and the checks that need no data and no weights.
//!
//! [`load`] parses a file into a tree of settings that know their places (`document`). It merges `extends`,
//! `[defaults]` and `--set` (`merge`, `set`), checks the tree against the schema that the types generate (`schema`,
//! `check`), and checks what no schema can express (`graph`, `shape`, `paths`). One [`Report`] has all errors of a
//! file.
//!
//! Every room may import this one; it imports only `error`. It never prints, and reads environment variables through a
//! function that it is given. Checks that need the names of parameters or classes are in `plan`.

mod arch;
mod augment;
mod check;
mod class_weights;
mod data;
mod data_checks;
mod diagnostics;
mod distill;
mod document;
mod draft;
mod effect_checks;
mod elsewhere;
mod entries;
mod graph;
mod group_checks;
pub mod label;
mod label_checks;
mod load;
mod loss;
mod machine;
mod matrix;
mod merge;
mod model;
mod names;
mod normalize;
mod optimizer;
mod paths;
mod pattern;
mod recognition;
mod report;
mod resolved;
mod schedule;
mod schedule_checks;
mod schema;
mod set;
mod set_paths;
mod shape;
mod source;
mod stage;
pub mod suggest;
pub mod synonyms;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod training;

pub use arch::architectures;
pub use arch::{Arch, ImageSizes};
pub use augment::*;
pub use class_weights::ClassWeights;
pub use data::*;
pub use diagnostics::Diagnostic;
pub use distill::Distill;
pub use elsewhere::Elsewhere;
pub use load::{LoadOptions, load, load_all, load_but_patterns};
pub use loss::*;
pub use machine::*;
pub use model::*;
pub use normalize::Normalize;
pub use optimizer::*;
pub use pattern::{Alias, Pattern, PatternError};
pub use recognition::*;
pub use report::Report;
pub use resolved::Resolved;
pub use schedule::*;
pub use schema::schema;
pub use stage::*;
pub use table::*;
pub use training::*;
