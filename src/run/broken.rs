//! What is said of images that a stage could not decode.

use serde_json::Value;

use super::RunDirectory;
use crate::plan::Planned;
use crate::stage::BROKEN_IMAGES;

/// How many images of which data set a stage left out, by its metrics, and where in the run directory they are listed.
pub(super) fn left_out(stage: &Planned, metrics: &Value, directory: &RunDirectory) -> Option<String> {
    let count = metrics["broken_images"].as_u64().filter(|count| *count > 0)?;
    let root = stage.work.dataset()?.root.display();
    let list = directory.stage(&stage.name).join(BROKEN_IMAGES);
    let (images, are) = if count == 1 { ("image", "is") } else { ("images", "are") };
    let listed = if list.is_file() { format!(": see `{}`", list.display()) } else { String::new() };
    Some(format!("{count} {images} of {root} cannot be decoded and {are} left out{listed}"))
}
