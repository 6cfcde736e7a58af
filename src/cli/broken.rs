//! Images that cannot be decoded, for people.

use defrost::plan::BrokenData;
use defrost::{Error, Result};

use super::Console;
use super::data_table::plain;

/// So many are listed.
const SHOWN: usize = 20;

/// Lists images that cannot be decoded, with causes.
pub fn list(found: &[BrokenData], console: &Console) {
    for data in found {
        let Counted { noun, are, .. } = counted(data.count);
        let left_out = if data.skipped { format!(" and {are} left out") } else { String::new() };
        console.warn(format!(
            "{}: {} of {} {noun} cannot be decoded{left_out}",
            data.root, data.count, data.checked
        ));
        for image in data.images.iter().take(SHOWN) {
            console.aside(format!("    {}: {}", plain(&image.file), image.cause));
        }
        if data.count > SHOWN {
            console.aside(format!("    and {} more", data.count - SHOWN));
        }
        for lost in &data.lost {
            let (part, class) = (lost.part.in_words(), &lost.class);
            console.warn(format!("{}: no image of `{class}` is left in the {part} part", data.root));
        }
    }
}

/// Fails where a run would fail over them.
pub fn require_sound(found: &[BrokenData]) -> Result<()> {
    let Some(first) = found.iter().find(|data| data.is_error()) else { return Ok(()) };
    if first.skipped {
        let lost = &first.lost[0];
        let message = format!("no image of `{}` is left in the {} part", lost.class, lost.part.in_words());
        return Err(Error::usage(message).hint(
            "replace the broken files, name the classes to use with `classes`, or set `split.require_classes = false` to allow it",
        ));
    }
    let count: usize = found.iter().filter(|data| !data.skipped).map(|data| data.count).sum();
    Err(Error::usage(format!("{count} {} cannot be decoded", counted(count).noun)).hint(
        "replace or remove the files, or set `broken = \"skip\"` to leave out such images; `defrost validate --decode` looks at every byte",
    ))
}

struct Counted {
    noun: &'static str,
    are: &'static str,
}

fn counted(count: usize) -> Counted {
    if count == 1 { Counted { noun: "image", are: "is" } } else { Counted { noun: "images", are: "are" } }
}
