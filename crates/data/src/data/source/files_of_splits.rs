//! What formats with one file for each split have in common: tables, and JSON files of boxes.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::data::Split;
use crate::pipeline::SplitFiles;

/// The folder that paths in the files are relative to: `root`, or the folder of the training images' file.
pub fn root_folder(
    file: &Path,
    root: Option<&str>,
    resolve: &dyn Fn(&str) -> Result<PathBuf>,
) -> Result<PathBuf> {
    match root {
        Some(root) => resolve(root),
        // The parent of a bare file name is empty, which is not a folder.
        None => Ok(match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }),
    }
}

/// The file of each split that has one. The main file comes first.
pub fn files_of_splits(
    (first, file): (Split, PathBuf),
    others: Option<&SplitFiles>,
    resolve: &dyn Fn(&str) -> Result<PathBuf>,
) -> Result<Vec<(Split, PathBuf)>> {
    let mut files = vec![(first, file)];
    let others = others.iter();
    let others =
        others.flat_map(|files| [(Split::Validation, &files.validation), (Split::Test, &files.test)]);
    for (split, file) in others {
        if let Some(file) = file {
            files.push((split, resolve(file)?));
        }
    }
    Ok(files)
}
