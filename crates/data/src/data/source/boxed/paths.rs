//! Paths of images in annotation files, below the root folder.

use std::path::{Component, Path, PathBuf};

use crate::{Error, Result};

/// The root folder, in all forms that absolute paths in lists may begin with.
pub struct RootFolder {
    pub path: PathBuf,
    forms: Vec<PathBuf>,
}

impl RootFolder {
    pub fn new(path: PathBuf) -> Self {
        let forms = [absolute(&path).ok(), path.canonicalize().ok()].into_iter().flatten().collect();
        Self { path, forms }
    }

    /// The root as an absolute path without `..`.
    pub fn absolute(&self) -> &Path {
        self.forms.first().unwrap_or(&self.path)
    }

    /// A path in a file whose relative paths start at `from`, as the path below the root. `None` if it is outside.
    pub fn below(&self, from: &Path, written: &str) -> Option<String> {
        let written = written.replace('\\', "/");
        let whole = absolute(&from.join(&written)).ok()?;
        let below = self.forms.iter().find_map(|form| whole.strip_prefix(form).ok())?;
        let parts: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
        Some(parts?.join("/"))
    }
}

/// An absolute path without `.` and `..`.
///
/// # Errors
/// The current folder is unknown.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(path).map_err(|error| Error::io("find", path, error))?;
    Ok(without_dots(&whole))
}

/// A path without `.` and `..`. Links are not followed, so `a/..` is nothing even if `a` is a link.
fn without_dots(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}
