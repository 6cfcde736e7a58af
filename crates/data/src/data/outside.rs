//! Folders of splits outside of a data set's root.
//!
//! A sample's path is part of keys, random numbers and tables, so it never has the folder's own path. It begins with the
//! name of the split instead: `validation/cat/1.jpg`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Split;
use crate::{Error, Result};

/// The folders, by the names that paths of samples begin with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutsideFolders(BTreeMap<String, PathBuf>);

impl OutsideFolders {
    /// From names and folders.
    pub fn of(folders: BTreeMap<String, PathBuf>) -> Self {
        Self(folders)
    }

    pub fn folders(&self) -> &BTreeMap<String, PathBuf> {
        &self.0
    }

    /// The file of a sample.
    pub fn file(&self, root: &Path, path: &str) -> PathBuf {
        let outside = path.split_once('/').and_then(|(name, rest)| Some((self.0.get(name)?, rest)));
        match outside {
            Some((folder, rest)) => folder.join(rest),
            None => root.join(path),
        }
    }

    /// Adds a folder, and returns its name: that of the split, with a number from the second folder on.
    ///
    /// # Errors
    /// It overlaps with the root or another folder, so images would have two paths.
    pub fn add(&mut self, root: &Path, split: Split, folder: PathBuf) -> Result<String> {
        let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let added = full(&folder);
        if full(root).starts_with(&added) {
            let (folder, root) = (folder.display(), root.display());
            return Err(Error::usage(format!("the split folder `{folder}` contains `root` (`{root}`)"))
                .hint("set `root` to the folder that contains all images"));
        }
        let overlaps = |other: &&PathBuf| {
            let other = full(other);
            other.starts_with(&added) || added.starts_with(&other)
        };
        if let Some(other) = self.0.values().find(overlaps) {
            let (folder, other) = (folder.display(), other.display());
            return Err(Error::usage(format!("the split folders `{other}` and `{folder}` overlap"))
                .hint("an image that was trained on cannot measure the model: use separate folders"));
        }
        let names = std::iter::once(split.name().to_owned())
            .chain((2..).map(|number| format!("{}-{number}", split.name())));
        let name = names.into_iter().find(|name| !self.0.contains_key(name)).unwrap_or_default();
        self.0.insert(name.clone(), folder);
        Ok(name)
    }

    /// The name of a folder, which is added if it is new. For formats whose files list the images of each split.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn name_of(&mut self, root: &Path, split: Split, folder: PathBuf) -> Result<String> {
        match self.0.iter().find(|(_, known)| **known == folder) {
            Some((name, _)) => Ok(name.clone()),
            None => self.add(root, split, folder),
        }
    }

    /// Refuses paths below the root that begin with the name of a folder outside of it.
    ///
    /// # Errors
    /// A usage error that names one.
    pub fn require_unused<'a>(&self, mut below_root: impl Iterator<Item = &'a str>) -> Result<()> {
        let name = |path: &'a str| path.split('/').next().unwrap_or(path);
        match below_root.find(|path| self.0.contains_key(name(path))) {
            None => Ok(()),
            Some(path) => {
                let name = name(path);
                Err(Error::usage(format!(
                    "`{path}` below `root` begins with `{name}`, as the images of the folder `{}` outside of it",
                    self.0[name].display()
                ))
                .hint("rename one of the folders, or set `root` to a folder that contains both"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_named_by_their_split_and_found_in_their_folder() {
        let (root, mut outside) = (Path::new("/data/turtles"), OutsideFolders::default());
        let mut add = |split, folder: &str| outside.add(root, split, folder.into());
        assert_eq!(add(Split::Test, "/other/a").unwrap(), "test");
        assert_eq!(add(Split::Test, "/other/b").unwrap(), "test-2");
        assert!(add(Split::Train, "/other/b/c").unwrap_err().message.contains("overlap"));
        assert!(add(Split::Train, "/data").unwrap_err().message.contains("contains `root`"));
        assert_eq!(outside.name_of(root, Split::Validation, "/other/b".into()).unwrap(), "test-2");
        assert_eq!(outside.file(root, "test-2/cat/1.jpg"), Path::new("/other/b/cat/1.jpg"));
        assert_eq!(outside.file(root, "cat/1.jpg"), Path::new("/data/turtles/cat/1.jpg"));
        assert!(outside.require_unused(["cat/1.jpg", "tests/1.jpg"].into_iter()).is_ok());
        assert!(outside.require_unused(["test/1.jpg"].into_iter()).is_err());
    }
}
