//! The files that a stage reads besides the weights of stages above: as they are found, and with their digests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::Dataset;
use crate::digest::Digest;
use crate::error::Result;

/// How much is known of the files that stages read.
pub trait Inputs {
    /// The weights of a `load_weights` stage.
    type Weights;
    /// The images of a stage that trains or evaluates.
    type Images;

    fn dataset(images: &Self::Images) -> Option<&Arc<Dataset>>;
}

/// What is found while names are resolved, as far as the disk may be looked at.
#[derive(Clone, Copy, Debug)]
pub enum Located {}

/// All files are there, each with the digest of its content.
#[derive(Clone, Copy, Debug)]
pub enum Digested {}

impl Inputs for Located {
    type Weights = LocatedWeights;
    /// None where the disk may not be looked at.
    type Images = Option<Arc<Dataset>>;

    fn dataset(images: &Self::Images) -> Option<&Arc<Dataset>> {
        images.as_ref()
    }
}

impl Inputs for Digested {
    /// None where the weights are those of a stage above.
    type Weights = Option<DigestedWeights>;
    type Images = Arc<Dataset>;

    fn dataset(images: &Self::Images) -> Option<&Arc<Dataset>> {
        Some(images)
    }
}

/// Where the weights of a `load_weights` stage are, as far as that is known.
#[derive(Clone, Debug, PartialEq)]
pub enum LocatedWeights {
    /// In the result of a stage above.
    Above,
    /// In a file that is not looked up yet: of another pipeline, or on a disk that may not be looked at.
    Unknown,
    /// In a file; the digest is known where the file is in the store.
    File { path: PathBuf, digest: Option<Digest> },
}

/// A file of weights, with the digest of its content.
#[derive(Clone, Debug, PartialEq)]
pub struct DigestedWeights {
    pub path: PathBuf,
    pub digest: Digest,
}

/// Digests what stages read.
pub trait Digester {
    /// # Errors
    /// The file cannot be read.
    fn file(&mut self, path: &Path) -> Result<Digest>;

    /// Each of several files.
    ///
    /// # Errors
    /// One of them cannot be read.
    fn files(&mut self, paths: &[PathBuf]) -> Result<Vec<Digest>> {
        paths.iter().map(|path| self.file(path)).collect()
    }

    /// The data set with the digest of each image.
    ///
    /// # Errors
    /// An image cannot be read.
    fn images(&mut self, found: &Arc<Dataset>) -> Result<Arc<Dataset>>;
}
