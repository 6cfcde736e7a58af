//! Comparisons of runs: tables, figures and a page that lay their cost and results side by side. Nothing here reads a
//! run, and no code depends on a task's name.

mod columns;
mod curves;
mod difference;
mod evaluation;
mod html;
mod images;
mod matrices;
mod runs;
mod svg;
mod table_csv;
#[cfg(test)]
mod tests;
mod unit;

pub use columns::Column;
pub use curves::{GroupCurves, group_curves, group_curves_csv, group_curves_svg};
pub use difference::Difference;
pub use evaluation::{
    ComparedCurve, ComparedEvaluation, ComparedImage, ComparedImages, ComparedMatrix, ComparedNumber,
    ImageAnswer, JudgedBox, Verdict,
};
pub use html::comparison_html;
pub use images::{ImageRow, comparison_sheet};
pub use matrices::{GroupMatrices, group_matrices};
pub use runs::{ComparedRun, Heading, MeanStd, MetricSplit, RunComparison, RunGroup};
pub use svg::comparison_svg;
pub use table_csv::comparison_csv;
pub use unit::Unit;
