//! Pairs images with their label files, by name.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::InputErrors;

/// Extensions of pictures that are not read, in lower case.
const OTHER_PICTURES: [&str; 14] =
    ["avif", "bmp", "dng", "gif", "heic", "heif", "jp2", "jpe", "jxl", "mpo", "png", "tif", "tiff", "webp"];

/// The label file of each image of a data set.
pub struct LabelFiles<'a> {
    /// The path of each image, and of its label file.
    pub pairs: &'a [(String, PathBuf)],
    /// The extension of label files.
    pub extension: &'static str,
    /// Files with that extension that are no labels, such as `classes.txt`.
    pub others: &'static [&'static str],
}

impl LabelFiles<'_> {
    /// Two images with one label file are an error: which of them it describes is unknown.
    pub fn require_own(&self, mistakes: &mut InputErrors) {
        let mut seen: HashMap<&Path, &str> = HashMap::new();
        for (image, labels) in self.pairs {
            match seen.entry(labels) {
                Entry::Vacant(place) => {
                    place.insert(image);
                }
                Entry::Occupied(first) if first.get() != image => {
                    let (first, labels) = (first.get(), labels.display());
                    let error = Error::usage(format!("`{first}` and `{image}` share the labels `{labels}`"));
                    let hint = "rename or remove one of them: each image needs labels of its own";
                    mistakes.add("labels of two images", error.hint(hint));
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    /// A warning if more than half of the label files have no image.
    pub fn orphans(&self) -> Option<String> {
        let known: HashSet<&Path> = self.pairs.iter().map(|(_, labels)| labels.as_path()).collect();
        let folders: BTreeSet<&Path> = known.iter().filter_map(|labels| labels.parent()).collect();
        let (mut all, mut orphans) = (0, Vec::new());
        for folder in folders {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let file = entry.path();
                let is_label = file
                    .extension()
                    .is_some_and(|found| found.eq_ignore_ascii_case(self.extension))
                    && !self.others.iter().any(|other| file.file_name().is_some_and(|name| name == *other));
                if is_label {
                    all += 1;
                    if !known.contains(file.as_path()) {
                        orphans.push(file);
                    }
                }
            }
        }
        let first = orphans.iter().min()?;
        (2 * orphans.len() > all).then(|| {
            let count = orphans.len();
            format!("{count} of {all} label files have no image, such as `{}`", first.display())
        })
    }
}

/// Of files that are no images, those that are pictures of a format that is not read. Labels, caches and arrays of
/// other programs are left out.
pub fn unreadable_pictures(files: Vec<String>) -> Vec<String> {
    let is_picture = |file: &String| {
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| OTHER_PICTURES.contains(&extension.to_lowercase().as_str()))
    };
    files.into_iter().filter(is_picture).collect()
}
