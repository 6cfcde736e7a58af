//! What lies in the folders of a data set: split folders, class folders, files.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::Split;
use super::split::Fractions;
use crate::pipeline::ImageFolder;
use crate::{Error, Result};

const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The folders to look into and the part that each holds; the root itself where no split folders are given.
pub fn split_folders(folder: &ImageFolder, fractions: &Fractions) -> Result<Vec<(Split, String)>> {
    let Some(folders) = &folder.split.folders else { return Ok(vec![(Split::Train, String::new())]) };
    for (name, given, share) in
        [("validation", &folders.validation, fractions.validation), ("test", &folders.test, fractions.test)]
    {
        if given.is_some() && share > 0.0 {
            return Err(Error::usage(format!("`split.{name}` and `split.folders.{name}` are both given"))
                .hint("keep the one that is meant"));
        }
    }
    let given = [
        (Split::Train, Some(&folders.train)),
        (Split::Validation, folders.validation.as_ref()),
        (Split::Test, folders.test.as_ref()),
    ];
    let parts: Vec<(Split, String)> = given
        .into_iter()
        .filter_map(|(split, path)| path.map(|path| (split, path.trim_matches('/').replace('\\', "/"))))
        .collect();
    for (i, (_, a)) in parts.iter().enumerate() {
        for (_, b) in &parts[..i] {
            if Path::new(a).starts_with(b) || Path::new(b).starts_with(a) {
                return Err(Error::usage(format!("the split folders `{b}` and `{a}` overlap")));
            }
        }
    }
    Ok(parts)
}

/// The names of the class folders in `root/below`, sorted.
pub fn class_folders(root: &Path, below: &str) -> Result<Vec<String>> {
    let folder = root.join(below);
    let mut names = Vec::new();
    for path in entries(&folder)?.into_iter().filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap_or_default().to_owned();
        names.push(name.into_string().map_err(|name| not_unicode(&folder.join(name)))?);
    }
    names.sort();
    if names.len() < 2 {
        let found = names.first().map_or("none".to_owned(), |only| format!("only `{only}`"));
        return Err(Error::usage(format!(
            "`{}` needs a folder for each of at least two classes, and has {found}",
            folder.display()
        ))
        .hint("point `root` at the folder whose folders are the classes"));
    }
    Ok(names)
}

/// The images that lie in no class folder of a part, as paths below the root: beside class folders, beside the parts'
/// folders, and in folders of the root that neither are parts nor hold any, such as a `testing` that was not named.
pub fn images_beside(root: &Path, parts: &[(Split, String)]) -> Result<Vec<String>> {
    let mut images = Vec::new();
    for (_, part) in parts {
        images.extend(loose_images(root, part)?);
    }
    if parts.iter().any(|(_, part)| part.is_empty()) {
        return Ok(images);
    }
    images.extend(loose_images(root, "")?);
    for folder in entries(root)?.iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().and_then(|name| name.to_str());
        let used = |name: &str| parts.iter().any(|(_, part)| Path::new(part).starts_with(name));
        if let Some(name) = name.filter(|name| !used(name)) {
            images.extend(files(root, name)?.0);
        }
    }
    Ok(images)
}

/// The images in `root/below` itself, as paths below the root.
fn loose_images(root: &Path, below: &str) -> Result<Vec<String>> {
    let paths = entries(&root.join(below))?.into_iter().filter(|path| is_image(path) && !path.is_dir());
    Ok(paths.filter_map(|path| Some(join(below, &path.file_name()?.to_string_lossy()))).collect())
}

/// What lies in a folder and is not hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io("read", folder, error).as_usage())?;
    let paths = entries.map(|entry| Ok(entry.map_err(|error| Error::io("read", folder, error))?.path()));
    let shown = |path: &PathBuf| !path.file_name().is_some_and(is_hidden);
    paths.filter(|path| path.as_ref().map_or(true, shown)).collect()
}

/// The images below a folder and the other files there, as paths below the root.
pub fn files(root: &Path, folder: &str) -> Result<(Vec<String>, Vec<String>)> {
    let (mut images, mut others) = (Vec::new(), Vec::new());
    let start = root.join(folder);
    let walk = WalkDir::new(&start).min_depth(1).follow_links(true).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|entry| !is_hidden(entry.file_name())) {
        let entry = entry.map_err(|error| {
            let place = error.path().unwrap_or(&start).display().to_string();
            Error::usage(format!("cannot read `{place}`: {error}"))
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path().strip_prefix(root).expect("the walk starts below the root");
        let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
        let path = parts.ok_or_else(|| not_unicode(entry.path()))?.join("/");
        if is_image(entry.path()) {
            images.push(path);
        } else {
            others.push(path);
        }
    }
    Ok((images, others))
}

/// By its name.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

pub fn join(below: &str, name: &str) -> String {
    if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") }
}

fn not_unicode(path: &Path) -> Error {
    Error::usage(format!("the name `{}` is not valid Unicode", path.display()))
        .hint("rename it: a sample's path enters keys and tables as text")
}

pub fn missing_class(name: &str, folder: &Path, found: &[String]) -> Error {
    let nearest = found
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let there = found.iter().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(", ");
    Error::usage(format!("the class `{name}` has no folder in `{}`", folder.display())).hint(match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`? there are {there}"),
        None if found.is_empty() => "put the images of each class into a folder of its name there".to_owned(),
        None => format!("there are {there}"),
    })
}

pub fn differing_classes(first: &str, second: &str, classes: &[String], found: &[String]) -> Error {
    let (here, there, name) = match classes.iter().find(|name| !found.contains(name)) {
        Some(name) => (first, second, name),
        None => (second, first, found.iter().find(|name| !classes.contains(name)).expect("the lists differ")),
    };
    Error::usage(format!("the class `{name}` is in `{here}` but not in `{there}`"))
        .hint("give every split folder the same class folders, or name the classes to use with `classes`")
}
