//! The folder of a split: below the root, or anywhere else.

use std::path::{Path, PathBuf};

use super::boxed::{RootFolder, absolute};
use super::walk::{FolderListing, WalkFindings, images, join, listing};
use crate::data::Split;
use crate::data::outside::OutsideFolders;
use crate::pipeline::SplitFolders;
use crate::{Error, Result};

/// The folder of a split, and what paths of its samples begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitPlace {
    pub split: Split,
    /// The root, or the folder itself if it is outside.
    start: PathBuf,
    /// The folder below `start`.
    inner: String,
    /// The name of a folder outside of the root; empty inside.
    name: String,
}

impl SplitPlace {
    /// The root as the folder of all images.
    pub fn root(root: &Path, split: Split) -> Self {
        let (inner, name) = Default::default();
        Self { split, start: root.to_owned(), inner, name }
    }

    /// The folders that the settings name, those below the root also as absolute paths.
    ///
    /// # Errors
    /// Folders that contain one another.
    pub fn all(folders: &SplitFolders, root: &Path, outside: &mut OutsideFolders) -> Result<Vec<Self>> {
        let mut places: Vec<Self> = Vec::new();
        for (split, written) in of_splits(folders) {
            let inside = written.trim_matches('/').replace('\\', "/");
            let place = match outside_folder(root, written)? {
                Some(Location::Below(inner)) => {
                    Self { split, start: root.to_owned(), inner, name: String::new() }
                }
                Some(Location::Outside(start)) => {
                    let name = outside.add(root, split, start.clone())?;
                    Self { split, start, inner: String::new(), name }
                }
                None => Self { split, start: root.to_owned(), inner: inside, name: String::new() },
            };
            places.push(place);
        }
        let inside: Vec<&Self> = places.iter().filter(|place| !place.is_outside()).collect();
        for (i, a) in inside.iter().enumerate() {
            for b in &inside[..i] {
                let (a, b) = (&a.inner, &b.inner);
                if Path::new(a).starts_with(b) || Path::new(b).starts_with(a) {
                    return Err(Error::usage(format!("the split folders `{b}` and `{a}` overlap")));
                }
            }
        }
        outside.require_unused(inside.iter().map(|place| place.inner.as_str()))?;
        Ok(places)
    }

    pub fn is_outside(&self) -> bool {
        !self.name.is_empty()
    }

    /// What paths of its samples begin with; empty for the root itself.
    pub fn below(&self) -> &str {
        if self.is_outside() { &self.name } else { &self.inner }
    }

    /// The folder itself.
    pub fn folder(&self) -> PathBuf {
        self.start.join(&self.inner)
    }

    /// The direct content of the folder. Paths of images begin with [`Self::below`].
    ///
    /// # Errors
    /// An unreadable folder.
    pub fn listing(&self, finds: &mut WalkFindings) -> Result<FolderListing> {
        let mut own = WalkFindings::default();
        let mut found = listing(&self.start, &self.inner, &mut own)?;
        finds.absorb(own, &self.name);
        found.images.iter_mut().for_each(|image| *image = join(&self.name, image));
        Ok(found)
    }

    /// The images of a folder in this one, at any depth. Their paths begin with [`Self::below`].
    pub fn images(&self, folder: &str, finds: &mut WalkFindings) -> Vec<String> {
        let inner = if folder.is_empty() { self.inner.clone() } else { join(&self.inner, folder) };
        named_images(&self.start, &inner, &self.name, finds)
    }
}

/// The images below `start/inner`, at any depth, as paths below `start`, each below `name`.
pub fn named_images(start: &Path, inner: &str, name: &str, finds: &mut WalkFindings) -> Vec<String> {
    let mut own = WalkFindings::default();
    let found = images(start, inner, &mut own);
    finds.absorb(own, name);
    found.into_iter().map(|image| join(name, &image)).collect()
}

/// The folders with their splits.
pub fn of_splits(folders: &SplitFolders) -> impl Iterator<Item = (Split, &String)> {
    let SplitFolders { train, validation, test } = folders;
    let all =
        [(Split::Train, Some(train)), (Split::Validation, validation.as_ref()), (Split::Test, test.as_ref())];
    all.into_iter().filter_map(|(split, folder)| Some((split, folder?)))
}

/// Where an absolute path leads.
enum Location {
    /// The path below the root.
    Below(String),
    Outside(PathBuf),
}

/// `None` for a relative path. A path that only begins with `/`, such as `/train`, is one if there is such a folder in the
/// root and no other.
fn outside_folder(root: &Path, written: &str) -> Result<Option<Location>> {
    let path = Path::new(written);
    let is_inside = || !path.is_dir() && root.join(written.trim_matches('/')).is_dir();
    if !path.is_absolute() || is_inside() {
        return Ok(None);
    }
    let below = RootFolder::new(root.to_owned()).below(root, written);
    Ok(Some(match below {
        Some(inner) if inner.is_empty() => {
            return Err(Error::usage(format!("the split folder `{written}` is `root` itself"))
                .hint("set `root` to the folder above it"));
        }
        Some(inner) => Location::Below(inner),
        None => Location::Outside(absolute(path)?),
    }))
}
