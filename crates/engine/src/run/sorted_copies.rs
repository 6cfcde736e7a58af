//! Copies of images in a folder for each predicted class.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::output_names::output_names;
use crate::error::{Error, Result};

/// The folder of images for which no class is predicted.
const NO_CLASS: &str = "no class";

/// An empty folder that images are copied into: `DIR/CLASS/NAME`.
pub struct SortedCopies {
    folder: PathBuf,
}

impl SortedCopies {
    /// A folder that does not exist yet, or is empty. Nothing is written.
    ///
    /// # Errors
    /// It has files, or is no folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let entries = match fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io("read", folder, error).as_usage()),
        };
        match entries {
            true => Err(Error::usage(format!("`{}` is not empty", folder.display()))
                .hint("name a new or empty folder, so that every file in it is of this prediction")),
            false => Ok(Self { folder: folder.to_owned() }),
        }
    }

    /// The name of each image below the folder of its class: with the folders below the one that all images share.
    pub fn names(files: &[PathBuf]) -> Vec<PathBuf> {
        let named = |(name, file): (String, &PathBuf)| match file.extension() {
            Some(extension) => PathBuf::from(format!("{name}.{}", extension.to_string_lossy())),
            None => PathBuf::from(name),
        };
        output_names(files, &[]).into_iter().zip(files).map(named).collect()
    }

    /// Copies an image. `None` is no class.
    ///
    /// # Errors
    /// The file cannot be read, or the copy not be written.
    pub fn copy(&self, file: &Path, name: &Path, class: Option<&str>) -> Result<PathBuf> {
        let target = self.folder.join(class.map_or(NO_CLASS.to_owned(), folder_name)).join(name);
        let folder = target.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        fs::copy(file, &target).map_err(|error| Error::io("write", &target, error))?;
        Ok(target)
    }
}

/// A class as the name of one folder: separators, a leading dot and control characters become `_`.
fn folder_name(class: &str) -> String {
    let plain = |(place, letter): (usize, char)| match letter {
        '/' | '\\' | ':' => '_',
        '.' if place == 0 => '_',
        letter if letter.is_control() => '_',
        letter => letter,
    };
    match class.chars().enumerate().map(plain).collect::<String>() {
        name if name.is_empty() => "_".to_owned(),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_copied_below_their_class_and_no_class_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("1.png");
        fs::write(&image, "pixels").unwrap();
        let copies = SortedCopies::open(&folder.path().join("new")).unwrap();
        let copy = |class| copies.copy(&image, Path::new("a/1.png"), class).unwrap();
        for (class, name) in [
            (Some("green"), "new/green/a/1.png"),
            (Some("../up"), "new/_._up/a/1.png"),
            (Some("a/b\\c"), "new/a_b_c/a/1.png"),
            (Some(""), "new/_/a/1.png"),
            (None, "new/no class/a/1.png"),
        ] {
            assert_eq!(copy(class), folder.path().join(name));
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "pixels");
        }
        let error = SortedCopies::open(&folder.path().join("new")).err().unwrap();
        assert!(error.to_string().contains("is not empty"));
        assert!(SortedCopies::open(&image).is_err());
        let names = SortedCopies::names(&["p/a/1.png".into(), "p/b/1.JPG".into(), "p/b/1.png".into()]);
        assert_eq!(names, ["a/1.png", "b/1.JPG", "b/1_2.png"].map(PathBuf::from));
    }
}
