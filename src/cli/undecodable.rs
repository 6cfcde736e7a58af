//! Prints images that cannot be decoded.

use defrost::plan::UndecodableImages;
use defrost::{Error, Result, sanitize};

use super::Console;
use super::data_table::plain;

/// The maximum number of images that are listed.
const SHOWN: usize = 20;

/// Lists images that cannot be decoded, with the causes.
pub fn list(found: &[UndecodableImages], console: &Console) {
    for data in found {
        let left_out = match (data.skipped, data.count) {
            (false, _) => "",
            (true, 1) => " and is left out",
            (true, _) => " and are left out",
        };
        console.warn(format!(
            "{}: {} of {} cannot be decoded{left_out}",
            data.root,
            data.count,
            sanitize::count(data.checked, "image")
        ));
        for image in data.images.iter().take(SHOWN) {
            console.status(format!("    {}: {}", plain(&image.file), image.cause));
        }
        if data.count > SHOWN {
            console.status(format!("    and {} more", data.count - SHOWN));
        }
        for lost in &data.lost {
            let (part, class) = (lost.part.in_words(), &lost.class);
            console.warn(format!("{}: no image of `{class}` is left in the {part} split", data.root));
        }
    }
}

/// Fails if a run would fail because of these images.
pub fn require_sound(found: &[UndecodableImages]) -> Result<()> {
    let Some(first) = found.iter().find(|data| data.is_error()) else { return Ok(()) };
    if first.skipped {
        let lost = &first.lost[0];
        let message = format!("no image of `{}` is left in the {} split", lost.class, lost.part.in_words());
        return Err(Error::usage(message).hint(
            "replace the broken files, list the classes to use in `classes`, or set `split.require_classes = false`",
        ));
    }
    let count: usize = found.iter().filter(|data| !data.skipped).map(|data| data.count).sum();
    Err(Error::usage(format!("{} cannot be decoded", sanitize::count(count, "image"))).hint(
        "replace or remove the files, or set `broken = \"skip\"` to leave them out; `defrost validate --decode` decodes every image",
    ))
}
