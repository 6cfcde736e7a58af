//! Lists the images in a folder by their names, and everything else that is found there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::data::IMAGE_FORMATS;
use crate::error::InputErrors;
use crate::regular_file::{self, ReadRefusal};
use crate::{Error, Result};

/// Files and folders of operating systems, storage devices and archivers: copies, thumbnails and deleted files, never
/// data.
const OF_SYSTEMS: [&str; 18] = [
    "@eaDir",
    "@Recycle",
    "@Recently-Snapshot",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "RECYCLER",
    "System Volume Information",
    "FOUND.000",
    "lost+found",
    "__MACOSX",
    "Network Trash Folder",
    "Temporary Items",
    "Thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "Icon\r",
];

/// What a walk finds in a data set's folders in addition to images. Paths are below the root, with `/`.
#[derive(Default)]
pub struct WalkFindings {
    /// Files without an image extension.
    pub others: Vec<String>,
    /// Files with an image extension that cannot be read, each with the cause.
    pub unreadable: Vec<(String, String)>,
    /// Broken links without an image extension.
    pub dangling: Vec<String>,
    /// The number of system files and folders, by name.
    pub of_systems: BTreeMap<String, usize>,
    pub mistakes: InputErrors,
}

/// The direct content of a folder, by name.
#[derive(Default)]
pub struct FolderListing {
    pub folders: Vec<String>,
    pub images: Vec<String>,
}

/// Lists `root/below` without its subfolders. Names are sorted.
///
/// # Errors
/// An unreadable folder.
pub fn listing(root: &Path, below: &str, finds: &mut WalkFindings) -> Result<FolderListing> {
    let folder = root.join(below);
    let cannot = |error| Error::io("read", &folder, error).as_usage();
    let mut found = FolderListing::default();
    for entry in std::fs::read_dir(&folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default();
        if finds.leaves_out(name) {
            continue;
        }
        // Links are followed.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => match name.to_str() {
                Some(name) => found.folders.push(name.to_owned()),
                None => finds.mistakes.add("names that are not Unicode", not_unicode(&path)),
            },
            Ok(_) if is_image(&path) => found.images.push(join(below, &name.to_string_lossy())),
            Ok(_) => {}
            // It may be a link to the class folder of a disk that is not mounted.
            Err(_) if path.extension().is_none() => {
                let cause =
                    regular_file::refusal(&path).map_or_else(String::new, |refused| format!(": {refused}"));
                let error = Error::usage(format!("cannot read `{}`{cause}", path.display()));
                finds
                    .mistakes
                    .add("unreadable files or folders", error.hint("restore its target, or remove it"));
            }
            Err(_) => finds.dangling.push(join(below, &name.to_string_lossy())),
        }
    }
    found.folders.sort();
    found.images.sort();
    Ok(found)
}

/// The images below `root/folder`, at any depth.
pub fn images(root: &Path, folder: &str, finds: &mut WalkFindings) -> Vec<String> {
    let mut images = Vec::new();
    let start = root.join(folder);
    let mut walk = WalkDir::new(&start).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                finds.cannot_enter(root, &start, &error);
                continue;
            }
        };
        let kind = entry.file_type();
        if finds.leaves_out(entry.file_name()) {
            if kind.is_dir() {
                walk.skip_current_dir();
            }
        } else if kind.is_dir() {
        } else if !is_image(entry.path()) {
            finds.others.push(lossy(root, entry.path()));
        } else {
            match below(root, entry.path()) {
                None => finds.mistakes.add("names that are not Unicode", not_unicode(entry.path())),
                Some(path) if kind.is_file() => images.push(path),
                Some(path) => finds.cannot_read(path, regular_file::refusal(entry.path())),
            }
        }
    }
    images
}

/// The images below a folder at any depth, as paths below it, including unreadable ones.
///
/// # Errors
/// An unreadable folder, a cycle of links, or a name that is not Unicode.
pub fn images_below(folder: &Path) -> Result<Vec<String>> {
    let mut finds = WalkFindings::default();
    let mut images = images(folder, "", &mut finds);
    finds.mistakes.into_result()?;
    images.extend(finds.unreadable.into_iter().map(|(image, _)| image));
    images.sort();
    Ok(images)
}

impl WalkFindings {
    /// Adds what was found in a folder. Its paths are below `folder`.
    pub fn absorb(&mut self, found: Self, folder: &str) {
        let Self { others, unreadable, dangling, of_systems, mistakes } = found;
        self.others.extend(others.into_iter().map(|path| join(folder, &path)));
        self.unreadable.extend(unreadable.into_iter().map(|(path, cause)| (join(folder, &path), cause)));
        self.dangling.extend(dangling.into_iter().map(|path| join(folder, &path)));
        for (name, count) in of_systems {
            *self.of_systems.entry(name).or_default() += count;
        }
        self.mistakes.append(mistakes);
    }

    /// Whether a name is hidden or belongs to a system; the latter is counted.
    fn leaves_out(&mut self, name: &OsStr) -> bool {
        if name.as_encoded_bytes().starts_with(b".") {
            return true;
        }
        let known = OF_SYSTEMS.iter().find(|known| name.eq_ignore_ascii_case(known));
        if let Some(known) = known {
            *self.of_systems.entry(known.trim_end().to_owned()).or_default() += 1;
        }
        known.is_some()
    }

    fn cannot_read(&mut self, path: String, refused: Option<ReadRefusal>) {
        let cause = refused.map_or_else(|| "it is changing".to_owned(), |refused| refused.to_string());
        self.unreadable.push((path, cause));
    }

    /// Records a folder or a link that a walk cannot enter.
    fn cannot_enter(&mut self, root: &Path, start: &Path, error: &walkdir::Error) {
        let path = error.path().unwrap_or(start);
        if self.leaves_out(path.file_name().unwrap_or_default()) {
            return;
        }
        if let Some(ancestor) = error.loop_ancestor() {
            let (link, folder) = (path.display(), ancestor.display());
            let error = Error::usage(format!("`{link}` is a link to `{folder}`, which contains it"));
            self.mistakes.add("links in a cycle", error.hint("remove the link"));
            return;
        }
        match (path.is_symlink(), is_image(path), below(root, path)) {
            (true, true, Some(image)) => self.cannot_read(image, regular_file::refusal(path)),
            (true, false, _) => self.dangling.push(lossy(root, path)),
            _ => {
                let cause = error.io_error().map_or_else(|| error.to_string(), |error| cause(path, error));
                let error = Error::usage(format!("cannot read `{}`: {cause}", path.display()));
                let hint = "make it readable, or move it out of the data set";
                self.mistakes.add("unreadable files or folders", error.hint(hint));
            }
        }
    }
}

fn cause(path: &Path, error: &std::io::Error) -> String {
    match (error.kind(), regular_file::refusal(path)) {
        (std::io::ErrorKind::PermissionDenied, _) => "permission denied".to_owned(),
        (_, Some(refused @ ReadRefusal::Dangling(_))) => refused.to_string(),
        _ => error.to_string(),
    }
}

/// Decides by the file extension.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let mut known = IMAGE_FORMATS.iter().flat_map(|format| format.extensions);
    known.any(|known| known.eq_ignore_ascii_case(extension))
}

pub fn join(below: &str, name: &str) -> String {
    if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") }
}

fn below(root: &Path, path: &Path) -> Option<String> {
    let parts = path.strip_prefix(root).ok()?.iter().map(|part| part.to_str());
    Some(parts.collect::<Option<Vec<&str>>>()?.join("/"))
}

/// The path for messages.
fn lossy(root: &Path, path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root).unwrap_or(path).into();
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn not_unicode(path: &Path) -> Error {
    Error::usage(format!("the name `{}` is not valid Unicode", path.display()))
        .hint("rename it: paths of samples are part of cache keys and tables, as text")
}
