//! The split folders of a data set, and the classes in each of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::layout::part_named;
use crate::data::Split;
use crate::data::outside::OutsideFolders;
use crate::data::source::split_place::SplitPlace;
use crate::data::source::walk::{FolderListing, WalkFindings, images, join, listing};
use crate::data::split::SplitFractions;
use crate::pipeline::ImageFolder;
use crate::{Error, Result};

/// A folder that holds a split of the data, with a folder for each class.
pub struct SplitFolder {
    pub place: SplitPlace,
    pub listing: FolderListing,
}

impl SplitFolder {
    /// The folders to scan; the root itself if no split folders are given.
    ///
    /// # Errors
    /// A folder inside another one, a split with both a folder and a fraction, or an unreadable folder.
    pub fn all(
        folder: &ImageFolder,
        fractions: &SplitFractions,
        root: &Path,
        outside: &mut OutsideFolders,
        finds: &mut WalkFindings,
    ) -> Result<Vec<Self>> {
        let places = split_folders(folder, fractions, root, outside)?.into_iter();
        places.map(|place| Ok(Self { listing: place.listing(finds)?, place })).collect()
    }

    pub fn split(&self) -> Split {
        self.place.split
    }

    pub fn has(&self, class: &str) -> bool {
        self.listing.folders.iter().any(|folder| folder == class)
    }

    /// What paths of images of a class begin with.
    pub fn class_folder(&self, class: &str) -> String {
        join(self.place.below(), class)
    }
}

fn split_folders(
    folder: &ImageFolder,
    fractions: &SplitFractions,
    root: &Path,
    outside: &mut OutsideFolders,
) -> Result<Vec<SplitPlace>> {
    let Some(folders) = &folder.split.folders else {
        return Ok(vec![SplitPlace::root(root, folder.split.usual())]);
    };
    for (name, given, share) in
        [("validation", &folders.validation, fractions.validation), ("test", &folders.test, fractions.test)]
    {
        if given.is_some() && share > 0.0 {
            return Err(Error::usage(format!("`split.{name}` and `split.folders.{name}` are both given"))
                .hint("remove one of them"));
        }
    }
    SplitPlace::all(folders, root, outside)
}

/// The images outside all class folders, as paths below the root. They are next to class folders, next to split
/// folders, or in other folders of the root that contain no split folder, such as an unnamed `testing`. A root without split
/// folders is not searched.
///
/// # Errors
/// An unreadable root.
pub fn images_beside(root: &Path, parts: &[SplitFolder], finds: &mut WalkFindings) -> Result<Vec<String>> {
    let mut unclassified: Vec<String> = parts.iter().flat_map(|part| part.listing.images.clone()).collect();
    let mut inside = parts.iter().map(|part| &part.place).filter(|place| !place.is_outside()).peekable();
    if inside.peek().is_none() || parts.iter().any(|part| part.place.below().is_empty()) {
        return Ok(unclassified);
    }
    let top = listing(root, "", finds)?;
    unclassified.extend(top.images);
    let used: Vec<&Path> = inside.map(|place| Path::new(place.below())).collect();
    let used = |name: &str| used.iter().any(|folder| folder.starts_with(name));
    for name in top.folders.iter().filter(|name| !used(name)) {
        // Errors inside these folders do not matter, because the data set does not use them.
        unclassified.extend(images(root, name, &mut WalkFindings::default()));
    }
    Ok(unclassified)
}

/// The depths of images in their class folders.
#[derive(Default)]
pub struct NestingDepths {
    /// Images at an unusual depth in their class, such as thumbnails in a separate folder.
    uneven: Vec<String>,
    /// Whether images are in a folder such as `val` directly below their class.
    held_out: bool,
    /// Whether any image is outside folders with the name of a split.
    outside: bool,
}

impl NestingDepths {
    /// Adds the images of a class folder.
    pub fn add(&mut self, folder: &str, images: &[String]) {
        let depth = |image: &String| image.matches('/').count();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for image in images {
            *counts.entry(depth(image)).or_default() += 1;
            let below =
                image.strip_prefix(folder).and_then(|below| below.trim_start_matches('/').split_once('/'));
            match below.and_then(|(inner, _)| part_named(inner)) {
                Some(part) => self.held_out |= part != Split::Train,
                None => self.outside = true,
            }
        }
        // Of several equally frequent depths, the smallest is used.
        let usual = counts.iter().rev().max_by_key(|(_, count)| **count).map_or(0, |(depth, _)| *depth);
        self.uneven.extend(images.iter().filter(|image| depth(image) != usual).cloned());
    }

    /// The warning, if there is one.
    pub fn said(&self) -> Option<String> {
        if self.held_out && !self.outside {
            return Some(
                "class folders contain folders such as `train` and `val`, which are not used as splits: list the images in a CSV file with a split column instead"
                    .to_owned(),
            );
        }
        let first = self.uneven.first()?;
        let count = self.uneven.len();
        let images = if count == 1 { "image is" } else { "images are" };
        Some(format!(
            "{count} {images} at another folder depth than most images of the class, such as `{first}`"
        ))
    }
}
