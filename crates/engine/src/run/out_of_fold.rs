//! The predictions of a cross-validation in one table: each image by the run that did not train on it.

use super::RunDirectory;
use super::evaluated::EvaluatedRun;
use crate::error::Result;
use crate::report::{OutOfFoldRow, RunComparison, out_of_fold_csv};

/// The table of the compared evaluation; `None` if no run holds out a fold, or no evaluation of the validation split is
/// compared.
///
/// # Errors
/// A file of a run cannot be read, or runs have different classes.
pub fn out_of_fold(comparison: &RunComparison) -> Result<Option<String>> {
    let Some(stage) = &comparison.evaluation else { return Ok(None) };
    let mut classes = None;
    let mut rows = Vec::new();
    for group in &comparison.groups {
        for run in group.runs.iter().filter(|run| !run.fold.is_empty()) {
            let directory = RunDirectory::open(&run.run_dir)?;
            let Some(evaluated) = EvaluatedRun::read(&directory, stage)? else { continue };
            if directory.settings()?["stage"][stage]["split"] != "validation" {
                continue;
            }
            // Columns are the classes of the first run.
            if *classes.get_or_insert_with(|| evaluated.classes.clone()) != evaluated.classes {
                continue;
            }
            rows.extend(evaluated.predictions.into_iter().map(|prediction| OutOfFoldRow {
                row: group.label.clone(),
                seed: run.seed,
                fold: run.fold.first().copied().unwrap_or_default(),
                prediction,
            }));
        }
    }
    rows.sort_by(|a, b| (&a.row, a.seed, &a.prediction.file).cmp(&(&b.row, b.seed, &b.prediction.file)));
    Ok(classes.filter(|_| !rows.is_empty()).map(|classes| out_of_fold_csv(&classes, &rows)))
}
