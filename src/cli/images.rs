//! Describes the images of data sets before a run: the sizes of their splits, and the ignored files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use defrost::data::{Dataset, OtherFormat, Split, image_format_extensions, image_format_names, is_image};
use defrost::stage::{Inputs, ResolvedStage};

/// The data sets that stages read, each once, and whether images that cannot be decoded are skipped.
fn datasets<'a, I: Inputs + 'a>(
    works: impl Iterator<Item = &'a ResolvedStage<I>>,
) -> Vec<(&'a Arc<Dataset>, bool)> {
    let mut found: Vec<(&Arc<Dataset>, bool)> = Vec::new();
    for (work, dataset) in works.filter_map(|work| Some((work, work.dataset()?))) {
        if !found.iter().any(|(other, _)| Arc::ptr_eq(other, dataset)) {
            found.push((dataset, work.skips_broken()));
        }
    }
    found
}

/// One line per data set: `photos: 221 training, 59 validation and 83 test images of 6 classes`.
pub fn parts<'a, I: Inputs + 'a>(works: impl Iterator<Item = &'a ResolvedStage<I>>) -> Vec<String> {
    let line = |(dataset, skips): &(&Arc<Dataset>, bool)| {
        let parts = [Split::Train, Split::Validation, Split::Test];
        let [train, validation, test] = parts.map(|part| dataset.split(part).len());
        let (root, classes) = (dataset.root.display(), dataset.classes.len());
        let what = if dataset.is_multi_label() { "labels" } else { "classes" };
        let less = if *skips { ", except those that cannot be decoded" } else { "" };
        format!(
            "{root}: {train} training, {validation} validation and {test} test images of {classes} {what}{less}"
        )
    };
    once(datasets(works).iter().map(line))
}

/// The ignored files, as in `photos: 27 files are ignored: only .jpg, … and .tiff are read (found .gif, .txt)`.
/// Includes images outside all class folders.
pub fn left_out<'a, I: Inputs + 'a>(works: impl Iterator<Item = &'a ResolvedStage<I>>) -> Vec<String> {
    let lines = |dataset: &Arc<Dataset>| {
        let (images, others): (Vec<&String>, Vec<&String>) =
            dataset.ignored.iter().partition(|file| is_image(Path::new(file)));
        let kind = |file: &String| match Path::new(file).extension() {
            Some(extension) => format!(".{}", extension.display()),
            None => "no extension".to_owned(),
        };
        let kinds: Vec<String> =
            others.iter().copied().map(kind).collect::<BTreeSet<_>>().into_iter().collect();
        let line = |files: &[&String], one: &str, several: &str, why: &str| {
            let what = if files.len() == 1 { one } else { several };
            let line = format!("{}: {} {what} ignored: {why}", dataset.root.display(), files.len());
            (!files.is_empty()).then_some(line)
        };
        let kinds = format!(
            "only {} are read (found {}){}",
            image_format_extensions("and"),
            kinds.join(", "),
            conversions(&others)
        );
        let outside = images
            .first()
            .map_or_else(String::new, |image| format!("not in a class folder of a split (`{image}`)"));
        let root = dataset.root.display();
        let warnings = dataset.warnings.iter().map(move |warning| format!("{root}: {warning}"));
        let lines = [
            line(&others, "file is", "files are", &kinds),
            line(&images, "image is", "images are", &outside),
        ];
        lines.into_iter().flatten().chain(unreadable(dataset)).chain(warnings).collect::<Vec<_>>()
    };
    once(datasets(works).iter().flat_map(|(dataset, _)| lines(dataset)))
}

/// How to convert the images among ignored files, by format: `; 2 HEIC files: convert them, for example with …`.
fn conversions(others: &[&String]) -> String {
    let mut found: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for file in others {
        let path = Path::new(file);
        let Some(format) = OtherFormat::of_name(path) else { continue };
        found.entry(format.name).or_insert_with(|| (0, format.command_for("photo"))).0 += 1;
    }
    let line = |(name, (count, command)): (&str, (usize, String))| match count {
        1 => format!("; 1 {name} file: convert it, for example with `{command}`"),
        _ => format!("; {count} {name} files: convert them, for example with `{command}`"),
    };
    found.into_iter().map(line).collect()
}

/// The images that could not be opened and are skipped, with the causes.
fn unreadable(dataset: &Dataset) -> Option<String> {
    const SHOWN: usize = 5;
    let all = &dataset.unreadable;
    let shown: Vec<String> =
        all.iter().take(SHOWN).map(|(file, cause)| format!("\n    `{file}`: {cause}")).collect();
    let more = match all.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("\n    and {more} more"),
    };
    let (images, are) = if all.len() == 1 { ("image", "is") } else { ("images", "are") };
    let root = dataset.root.display();
    (!all.is_empty()).then(|| {
        format!("{root}: {} {images} cannot be read and {are} left out{}{more}", all.len(), shown.concat())
    })
}

/// All such images, as JSON.
pub fn unreadable_of<'a, I: Inputs + 'a>(
    works: impl Iterator<Item = &'a ResolvedStage<I>>,
) -> Vec<serde_json::Value> {
    let entry = |dataset: &Dataset, (file, cause): &(String, String)| serde_json::json!({ "root": dataset.root, "file": file, "cause": cause });
    let found = datasets(works);
    found.iter().flat_map(|(dataset, _)| dataset.unreadable.iter().map(|one| entry(dataset, one))).collect()
}

/// The help for an argument that takes image files.
pub fn files_help() -> String {
    format!("{} files, or folders of them", image_format_names("or"))
}

/// Each line once, because the runs of a matrix read the same data sets separately.
fn once(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    lines.for_each(|line| {
        if !all.contains(&line) {
            all.push(line)
        }
    });
    all
}
