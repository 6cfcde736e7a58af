//! The report of a search: its rungs, its samples by rank, and how the metric depends on each setting.

mod data;
mod groups;
mod html;
mod picture;
mod table;

pub use data::{RungReport, SampleEnd, SampleReport, SearchReport, SearchState};
pub use groups::{SettingGroup, searched_groups};
pub use html::search_html;
pub use picture::search_svg;
pub use table::search_csv;

#[cfg(test)]
mod tests;
