//! Images in folders: one for each class, or those below folders of splits.

use std::collections::BTreeMap;
use std::path::Path;

use defrost::data::{
    Dataset, OtherFormat, image_format_extensions, images_below, part_folders, written_folders,
};
use defrost::{Error, Result};
use serde_json::{Value, json};
use walkdir::WalkDir;

use super::ImageSource;
use super::written::{Line, relative};

/// How many kinds of files and how many tables an error lists.
const SHOWN: usize = 5;

/// The images of `data`, or those that will be in the folder `data` next to the file.
///
/// # Errors
/// `validate` refuses these folders with any split.
pub fn find(data: Option<&Path>, dir: &Path) -> Result<ImageSource> {
    let (split, evaluated, why) = match data {
        Some(data) => {
            require_images(data)?;
            split(data)?
        }
        None => (fractions(SHARES[0], 0), "test", NEW_SPLIT),
    };
    let root = data.map_or(Ok("data".into()), |path| relative(dir, path))?;
    Ok(ImageSource {
        lines: vec![
            Line::new("format", &"image_folder".into(), "one folder per class"),
            Line::new("root", &root.into(), "relative to this file; \"${VAR}\" is an environment variable"),
        ],
        split: Line::of_toml("split", split, why),
        evaluated,
        has_several_labels: false,
    })
}

/// Fractions of validation and test, each with several seeds. The first combination in which every split has every
/// class is used.
const SHARES: [(f64, f64); 3] = [(0.2, 0.1), (0.25, 0.25), (0.3, 0.0)];
const SEEDS: u64 = 20;
const NEW_SPLIT: &str = "fractions, with every class in every split";

fn fractions((validation, test): (f64, f64), seed: u64) -> String {
    let test = if test > 0.0 { format!(", test = {test}") } else { String::new() };
    format!("{{ validation = {validation}{test}, seed = {seed} }}")
}

/// The split: existing split folders if there are any, else fractions. Also returns the split to evaluate on, and the
/// reason.
fn split(data: &Path) -> Result<(String, &'static str, &'static str)> {
    let folders = part_folders(data);
    let written = folders.as_ref().map(written_folders);
    scan(data, json!({ "folders": folders }))?;
    let given = folders.as_ref().map(|folders| (folders.validation.is_some(), folders.test.is_some()));
    let mut refused = None;
    for (shares @ (validation, test), seed) in
        SHARES.iter().flat_map(|s| (0..SEEDS).map(move |seed| (*s, seed)))
    {
        let (settings, text, evaluated, why) = match (&written, given) {
            (Some(written), Some((true, test))) => {
                let evaluated = if test { "test" } else { "validation" };
                return Ok((format!("{{ {written} }}"), evaluated, "the folders that are there"));
            }
            // `@best` needs validation images: a fraction of the training images.
            (Some(written), Some((false, test))) => (
                json!({ "validation": validation, "seed": seed, "folders": folders }),
                format!("{{ validation = {validation}, seed = {seed}, {written} }}"),
                if test { "test" } else { "validation" },
                "there is no validation folder: a fraction of the training images",
            ),
            _ => (
                json!({ "validation": validation, "test": test, "seed": seed }),
                fractions(shares, seed),
                if test > 0.0 { "test" } else { "validation" },
                NEW_SPLIT,
            ),
        };
        match scan(data, settings) {
            Ok(()) => return Ok((text, evaluated, why)),
            Err(error) => refused = Some(error),
        }
    }
    let error = refused.expect("some seed was tried");
    Err(Error::usage(error.message).hint("add images: each class needs some in every split"))
}

/// Whether the images are a valid data set with this split.
fn scan(data: &Path, split: Value) -> Result<()> {
    let folder = json!({ "root": "", "split": split });
    let folder = serde_json::from_value(folder).map_err(|error| Error::bug(format!("the split: {error}")))?;
    Dataset::scan(&folder, data).map(drop).map_err(|error| error.within("--data"))
}

/// Refuses a folder without images, and one with images that have no classes.
fn require_images(data: &Path) -> Result<()> {
    let images = images_below(data).map_err(|error| error.within("--data"))?;
    let shown = data.display();
    if images.is_empty() {
        let (files, other) = files_below(data);
        let error = Error::usage(match files.as_str() {
            "" => format!("--data: `{shown}` is empty"),
            files => format!("--data: `{shown}` has no images, only {files}"),
        });
        return Err(match other {
            Some(other) => error.hint(format!(
                "{} files are not read: convert them, for example with `{}`",
                other.name,
                other.command_for("photo")
            )),
            None => error.hint(format!("images are {} files", image_format_extensions("or"))),
        });
    }
    if images.iter().any(|image| image.contains('/')) {
        return Ok(());
    }
    let images = match images.len() {
        1 => "1 image".to_owned(),
        several => format!("{several} images"),
    };
    let error = Error::usage(format!("--data: `{shown}` has {images}, but no folders of classes"));
    Err(match tables_below(data)[..] {
        [] => error.hint(
            "put the images of each class into a folder named after it, or list images and classes in a CSV table and \
             give that: `--data TABLE.csv`",
        ),
        [ref first, ..] => error.hint(format!("if the classes are in a table, give it: `--data {first}`")),
    })
}

/// The kinds of files below a folder, as in `3 .txt files`; and the first format of images that is not read.
fn files_below(data: &Path) -> (String, Option<&'static OtherFormat>) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut other = None;
    let entries =
        WalkDir::new(data).min_depth(1).sort_by_file_name().into_iter().filter_map(|entry| entry.ok());
    for entry in entries.filter(|entry| entry.file_type().is_file()) {
        let kind = match entry.path().extension() {
            Some(extension) => format!(".{}", extension.display()),
            None => "extensionless".to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
        other = other.or_else(|| OtherFormat::of_name(entry.path()));
    }
    let mut kinds: Vec<(String, usize)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = if kinds.len() > SHOWN { " and others" } else { "" };
    let line = |(kind, count): &(String, usize)| match count {
        1 => format!("1 {kind} file"),
        _ => format!("{count} {kind} files"),
    };
    let listed: Vec<String> = kinds.iter().take(SHOWN).map(line).collect();
    (format!("{}{more}", listed.join(", ")), other)
}

/// CSV files in a folder and its subfolders.
fn tables_below(data: &Path) -> Vec<String> {
    let entries =
        WalkDir::new(data).max_depth(2).sort_by_file_name().into_iter().filter_map(|entry| entry.ok());
    let tables = entries.filter(|entry| entry.file_type().is_file() && super::table::is_table(entry.path()));
    tables.take(SHOWN).map(|entry| entry.path().display().to_string()).collect()
}
