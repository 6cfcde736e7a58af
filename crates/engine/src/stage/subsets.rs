//! The subsets of an evaluation, with their values and the files of their masks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Digester;
use crate::code_path::CodePath;
use crate::data::{self, ImageValues, LARGEST_IMAGE, Mask};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::metrics::code_paths::SUBSETS;
use crate::regular_file;
use crate::task::{Division, Subset};

/// A subset with all that is read of it before a run.
#[derive(Clone, Debug, PartialEq)]
pub struct SubsetSpec {
    pub name: String,
    pub division: SubsetDivision,
}

/// What divides images or objects. Values and masks are those of the split; empty where the disk may not be looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum SubsetDivision {
    Images(ImageValues),
    Difficult,
    Size,
    Masks {
        minimum: f64,
        /// By the path of the image.
        masks: BTreeMap<String, MaskFile>,
    },
}

/// The mask of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskFile {
    pub path: PathBuf,
    /// The digest that the file's bytes must have when they are read; `None` before files are digested.
    pub digest: Option<Digest>,
}

impl SubsetSpec {
    /// Digests the files that an evaluation reads.
    ///
    /// # Errors
    /// A mask cannot be read.
    pub fn digest(&mut self, digester: &mut dyn Digester) -> Result<()> {
        let SubsetDivision::Masks { masks, .. } = &mut self.division else { return Ok(()) };
        let paths: Vec<PathBuf> = masks.values().map(|mask| mask.path.clone()).collect();
        for (mask, digest) in masks.values_mut().zip(digester.files(&paths)?) {
            mask.digest = Some(digest);
        }
        Ok(())
    }

    /// The code that can change its scores.
    pub fn code_paths(&self) -> Vec<CodePath> {
        let mut paths = vec![SUBSETS];
        if let SubsetDivision::Masks { masks, .. } = &self.division {
            let files = masks.values().map(|mask| mask.path.to_string_lossy());
            paths.extend(data::code_paths::of_files(files));
        }
        paths
    }

    /// As the task divides with it. `exif_orientation` is that of the images.
    pub fn subset(&self, exif_orientation: bool) -> Subset {
        let division = match &self.division {
            SubsetDivision::Images(values) => Division::Images(values.clone()),
            SubsetDivision::Difficult => Division::Difficult,
            SubsetDivision::Size => Division::Size,
            SubsetDivision::Masks { minimum, masks } => {
                let masks = masks.clone();
                let read = move |image: &str| {
                    let unknown = || Error::bug(format!("`{image}` has no mask"));
                    read_mask(masks.get(image).ok_or_else(unknown)?, exif_orientation)
                };
                Division::Masks { minimum: *minimum, read: Arc::new(read) }
            }
        };
        Subset { name: self.name.clone(), division }
    }
}

fn read_mask(MaskFile { path, digest }: &MaskFile, exif_orientation: bool) -> Result<Mask> {
    let bytes =
        regular_file::read(path, LARGEST_IMAGE).map_err(|refused| Error::io("read", path, refused.into()))?;
    if digest.is_some_and(|digest| digest != Digest::of(&bytes)) {
        return Err(changed(path));
    }
    Mask::decode(&bytes, exif_orientation).map_err(|cause| {
        Error::failed(format!("cannot decode the mask `{}`: {cause}", path.display()))
            .hint("write masks without loss: 0 outside, any other value inside")
    })
}

fn changed(path: &Path) -> Error {
    Error::failed(format!("`{}` changed while the stage was running", path.display()))
        .hint("run again without changing the data: results of old and new bytes are never mixed")
}
