//! `[search]`: many runs with drawn settings, the best of which go on (successive halving).
//!
//! Each run is the file with some settings changed, as `--set` would. A run of a rung has only the stage that is ranked and
//! the stages above it; the best samples then run the whole file.

mod checks;
mod draws;
mod reader;
mod table;

pub(super) use reader::SearchRuns;
pub(super) use table::SearchTable;

pub use table::{RunOfSearch, Search, SearchedSetting};
