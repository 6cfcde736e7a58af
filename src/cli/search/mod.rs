//! `defrost run` and `defrost plan` of a file with a search, and the table that `status` shows.

mod plan;
mod runs;
mod table;

pub use plan::plan;
pub use runs::{SearchOptions, Searched, run};
pub use table::status;
