//! Reports about images that a stage could not decode.

use std::collections::BTreeSet;

use serde_json::Value;

use super::RunDirectory;
use crate::error::Result;
use crate::plan::PlanEntry;
use crate::stage::{self, BROKEN_IMAGES};
use crate::store::FinishedStage;

/// The number of images that a stage skipped, from its metrics, the data set, and the list in the run directory.
pub(super) fn left_out(stage: &PlanEntry, metrics: &Value, directory: &RunDirectory) -> Option<String> {
    let count = metrics["broken_images"].as_u64().filter(|count| *count > 0)?;
    let root = stage.work.dataset()?.root.display();
    let list = directory.stage(&stage.name).join(BROKEN_IMAGES);
    let (images, are) = if count == 1 { ("image", "is") } else { ("images", "are") };
    let listed = if list.is_file() { format!(": see `{}`", list.display()) } else { String::new() };
    Some(format!("{count} {images} of {root} cannot be decoded and {are} left out{listed}"))
}

/// Fails if a stage, perhaps computed when that was allowed, decoded no image of a class.
pub(super) fn require_classes(stage: &PlanEntry, finished: &FinishedStage) -> Result<()> {
    let (Some(dataset), Some(view)) = (stage.work.dataset(), stage.work.preprocess()) else { return Ok(()) };
    let Ok(mut list) = csv::Reader::from_path(finished.dir.join(BROKEN_IMAGES)) else { return Ok(()) };
    let rows = list.records().map_while(std::result::Result::ok);
    let broken: BTreeSet<String> = rows.filter_map(|row| Some(row.get(0)?.to_owned())).collect();
    stage::require_classes(view, dataset, &stage.work.parts(), |path| broken.contains(path))
}
