//! Names of files that are made of images: one for each image, in the folders of the images.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// A name without an extension for each image file, relative to the folder in which all of them are: `night/1` for
/// `photos/night/1.png`, if others are in `photos` or in other folders of it. Of images with the same name, such as
/// `1.jpg` and `1.png`, all but the first have a number: `1_2`. No name has a first folder of `reserved`. Names differ in
/// more than upper and lower case.
pub fn output_names(files: &[PathBuf], reserved: &[&str]) -> Vec<String> {
    let paths: Vec<(Vec<String>, String)> = files.iter().map(|file| parts(file)).collect();
    let shared = shared(paths.iter().map(|(folders, _)| folders.as_slice()));
    let mut taken = HashSet::new();
    let name = |(folders, stem): &(Vec<String>, String)| {
        let mut folders = folders[shared..].to_vec();
        if let Some(first) = folders.first_mut()
            && reserved.iter().any(|name| name.eq_ignore_ascii_case(first))
        {
            first.push('_');
        }
        folders.push(stem.clone());
        let plain = folders.join("/");
        let numbered = (2u64..).map(|number| format!("{plain}_{number}"));
        let mut names = std::iter::once(plain.clone()).chain(numbered);
        names.find(|name| taken.insert(name.to_lowercase())).unwrap_or(plain)
    };
    paths.iter().map(name).collect()
}

/// The folders of a file from the root on, and its name without the extension.
fn parts(file: &Path) -> (Vec<String>, String) {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut names: Vec<String> = Vec::new();
    for component in absolute.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    let name = names.pop().unwrap_or_default();
    let stem = Path::new(&name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    (names, stem.unwrap_or(name))
}

/// The number of folders that all paths begin with.
fn shared<'a>(mut paths: impl Iterator<Item = &'a [String]>) -> usize {
    let Some(first) = paths.next() else { return 0 };
    let common = |length: usize, path: &[String]| {
        first[..length].iter().zip(path).take_while(|(one, other)| one == other).count()
    };
    paths.fold(first.len(), common)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        output_names(&files.iter().map(PathBuf::from).collect::<Vec<_>>(), &["labels"])
    }

    #[test]
    fn folders_below_the_shared_one_stay() {
        assert_eq!(names(&["photos/a/1.jpg"]), ["1"]);
        assert_eq!(names(&["photos/a/1.jpg", "photos/b/1.jpg"]), ["a/1", "b/1"]);
        assert_eq!(names(&["photos/1.jpg", "photos/b/1.v2.jpg"]), ["1", "b/1.v2"]);
        assert_eq!(names(&["/x/a/1.jpg", "/y/1.jpg", "/x/a/../2"]), ["x/a/1", "y/1", "x/2"]);
        assert_eq!(names(&[]), [""; 0]);
    }

    #[test]
    fn names_are_unique_and_outside_of_reserved_folders() {
        assert_eq!(names(&["a/1.jpg", "a/1.png", "a/1_2.png", "./a/1.jpg"]), ["1", "1_2", "1_2_2", "1_3"]);
        assert_eq!(names(&["a/X.jpg", "a/x.png", "a/b.jpg"]), ["X", "x_2", "b"]);
        assert_eq!(names(&["a/labels/1.jpg", "a/1.jpg"]), ["labels_/1", "1"]);
        assert_eq!(names(&["a/labels/1.jpg", "a/labels_/1.jpg"]), ["labels_/1", "labels_/1_2"]);
        assert_eq!(names(&["a/.jpg"]), [".jpg"]);
    }
}
