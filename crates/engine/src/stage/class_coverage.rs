//! Classes of a split without any decodable image.

use super::{Preprocess, StageContext};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};

/// Fails if a class of a split has no image left, unless the data set allows a missing class.
pub(crate) fn require_classes(
    preprocess: &Preprocess,
    dataset: &Dataset,
    parts: &[Split],
    is_broken: impl Fn(&str) -> bool,
) -> Result<()> {
    match in_words(dataset, parts, is_broken).filter(|_| preprocess.0.split.require_classes) {
        None => Ok(()),
        Some(message) => Err(Error::failed(message).hint(
            "replace the broken files, list the classes to use in `classes`, or set `split.require_classes = false`",
        )),
    }
}

/// The same, with a warning if it is allowed.
pub(super) fn require_classes_or_warn(
    preprocess: &Preprocess,
    dataset: &Dataset,
    parts: &[Split],
    is_broken: impl Fn(&str) -> bool,
    context: &StageContext,
) -> Result<()> {
    require_classes(preprocess, dataset, parts, &is_broken)?;
    in_words(dataset, parts, is_broken).into_iter().for_each(|message| context.warn(message));
    Ok(())
}

fn in_words(dataset: &Dataset, parts: &[Split], is_broken: impl Fn(&str) -> bool) -> Option<String> {
    parts.iter().find_map(|&part| {
        let lost = dataset.classes_without_images(part, &is_broken);
        let (first, images) = lost.first()?;
        let more = match lost.len() - 1 {
            0 => String::new(),
            more => format!(", nor of {more} more"),
        };
        let what = if dataset.is_multi_label() { "label" } else { "class" };
        let all = if *images == 1 { "its only one".to_owned() } else { format!("all {images}") };
        Some(format!(
            "no image of {what} `{first}` is left in the {} split{more}: {all} cannot be decoded",
            part.in_words()
        ))
    })
}
