//! The first rows of long tables. Documents for programs are always whole.

/// Rows that a table has without an option.
pub const PAGE: usize = 20;

#[derive(clap::Args, Clone, Copy, Default)]
pub struct PageOptions {
    /// Show at most this many rows. With `--json`, always all
    #[arg(long, value_name = "N", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Show all rows
    #[arg(long)]
    all: bool,
}

impl PageOptions {
    /// Whether the user says how many rows to show.
    pub fn is_chosen(&self) -> bool {
        self.all || self.limit.is_some()
    }

    /// The number of rows to show, of so many.
    pub fn rows(&self, count: usize) -> usize {
        match (self.all, self.limit) {
            (true, _) => count,
            (false, limit) => count.min(limit.map_or(PAGE, |limit| limit as usize)),
        }
    }
}
