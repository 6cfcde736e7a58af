//! What a person should know of the images before anything runs: how they are parted, and what was left out.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use defrost::data::{Dataset, Split};
use defrost::stage::Work;

/// The data sets that stages read, each once, and whether images that cannot be decoded are left out.
fn datasets<'a>(works: impl Iterator<Item = &'a Work>) -> Vec<(&'a Arc<Dataset>, bool)> {
    let mut found: Vec<(&Arc<Dataset>, bool)> = Vec::new();
    for (work, dataset) in works.filter_map(|work| Some((work, work.dataset()?))) {
        if !found.iter().any(|(other, _)| Arc::ptr_eq(other, dataset)) {
            found.push((dataset, work.skips_broken()));
        }
    }
    found
}

/// `photos: 221 training, 59 validation and 83 test images of 6 classes`, a line for each data set.
pub fn parts<'a>(works: impl Iterator<Item = &'a Work>) -> Vec<String> {
    let line = |(dataset, skips): &(&Arc<Dataset>, bool)| {
        let parts = [Split::Train, Split::Validation, Split::Test];
        let [train, validation, test] = parts.map(|part| dataset.split(part).len());
        let (root, classes) = (dataset.root.display(), dataset.classes.len());
        let what = if dataset.multi_label { "labels" } else { "classes" };
        let less = if *skips { ", less those that cannot be decoded" } else { "" };
        format!(
            "{root}: {train} training, {validation} validation and {test} test images of {classes} {what}{less}"
        )
    };
    once(datasets(works).iter().map(line))
}

/// `photos: 27 files are left out, as they are neither JPEG nor PNG by name (.bmp, .webp)`.
pub fn left_out<'a>(works: impl Iterator<Item = &'a Work>) -> Vec<String> {
    let line = |dataset: &Arc<Dataset>| {
        let kind = |file: &String| match Path::new(file).extension() {
            Some(extension) => format!(".{}", extension.display()),
            None => "no extension".to_owned(),
        };
        let kinds: BTreeSet<String> = dataset.ignored.iter().map(kind).collect();
        let kinds: Vec<String> = kinds.into_iter().collect();
        let (root, count) = (dataset.root.display(), dataset.ignored.len());
        let files = if count == 1 { "file is" } else { "files are" };
        format!("{root}: {count} {files} left out, being neither JPEG nor PNG by name ({})", kinds.join(", "))
    };
    let all = datasets(works).into_iter().map(|(dataset, _)| dataset);
    once(all.filter(|dataset| !dataset.ignored.is_empty()).map(line))
}

/// Each line once: the runs of a matrix look at one folder each for themselves.
fn once(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    lines.for_each(|line| {
        if !all.contains(&line) {
            all.push(line)
        }
    });
    all
}
