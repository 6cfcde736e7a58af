//! Lists of images (`.txt`): a path in each line.

use std::path::Path;

use crate::data::image::image_format_extensions;
use crate::data::source::boxed::RootFolder;
use crate::data::source::is_image;
use crate::error::InputErrors;
use crate::{Error, Result, regular_file};

/// The maximum size of a list in bytes.
const LARGEST_LIST: u64 = 1 << 28;

/// The images of a list, as paths below the root, each with its place. A path that starts with `./` is relative to the list, others to the
/// root.
///
/// # Errors
/// The list cannot be read, or is not text. Mistakes of single lines are added to `mistakes`.
pub fn read(
    list: &Path,
    root: &RootFolder,
    mistakes: &mut InputErrors,
) -> Result<Vec<(String, Option<String>)>> {
    let bytes = regular_file::read(list, LARGEST_LIST)
        .map_err(|refused| Error::io("read", list, refused.into()).as_usage())?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::usage(format!("`{}` is not UTF-8 text", list.display())).hint("save it as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let list_folder = list.parent().unwrap_or(Path::new("."));
    let mut images = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let written = line.trim();
        if written.is_empty() {
            continue;
        }
        let place = || format!("`{}`, line {}", list.display(), number + 1);
        let from = if written.starts_with("./") { list_folder } else { &root.path };
        if !is_image(Path::new(written)) {
            let message = format!("`{written}` is not a {} file", image_format_extensions("or"));
            mistakes.add("no image file", Error::usage(message).within(place()));
            continue;
        }
        match root.below(from, written) {
            Some(image) => images.push((image, Some(place()))),
            None => {
                let message = format!("`{written}` is outside of `{}`", root.path.display());
                let hint = "set `root` to the folder that contains all images";
                mistakes.add("outside the root", Error::usage(message).within(place()).hint(hint));
            }
        }
    }
    match images.is_empty() && mistakes.is_empty() {
        true => Err(Error::usage(format!("`{}` lists no image", list.display()))),
        false => Ok(images),
    }
}
