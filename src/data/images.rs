//! A data set's images as a stage sees them: read, checked against their digests, decoded, transformed, kept in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::RgbImage;

use super::dataset::Dataset;
use super::decode::decode;
use super::transform::Transform;
use crate::digest::Digest;
use crate::pipeline::Broken;
use crate::random::{Purpose, Stream, name_hash};
use crate::{Error, Result};

/// The images of a data set under one transform, shared by all epochs of a stage.
///
/// What a transform prepares (everything ahead of the random changes) is kept as RGB8 while the memory given lasts.
/// Every epoch asks for every image, so the first to come stay: making room for others would only trade one miss for
/// another.
pub struct Images {
    pub(super) dataset: Arc<Dataset>,
    pub(super) transform: Transform,
    broken: Broken,
    kept: Mutex<Kept>,
}

struct Kept {
    images: BTreeMap<usize, Arc<RgbImage>>,
    bytes_left: usize,
}

/// What became of a sample.
pub(super) enum Loaded {
    Image(Arc<RgbImage>),
    /// It cannot be decoded, for this cause, and is to be left out.
    Broken(String),
}

impl Images {
    /// `memory` is the number of bytes that may be spent on keeping prepared images; it changes no result.
    pub fn new(dataset: Arc<Dataset>, transform: Transform, broken: Broken, memory: usize) -> Self {
        let kept = Kept { images: BTreeMap::new(), bytes_left: memory };
        Self { dataset, transform, broken, kept: Mutex::new(kept) }
    }

    /// The finished image of a sample in an epoch.
    ///
    /// # Errors
    /// An unreadable file, one whose bytes are not those of its digest, and a broken image unless these are skipped.
    pub(super) fn load(&self, index: usize, seed: u64, epoch: u32) -> Result<Loaded> {
        let kept = self.kept().images.get(&index).cloned();
        let prepared = match kept {
            Some(kept) => kept,
            None => match self.prepare(index)? {
                Ok(prepared) => prepared,
                Err(cause) => return self.broken(index, cause),
            },
        };
        if self.transform.is_deterministic() {
            return Ok(Loaded::Image(prepared));
        }
        // By its path, so that another image joining the data set changes nothing here.
        let path = &self.dataset.samples[index].path;
        let mut stream = Stream::new(seed, Purpose::Augment, epoch, name_hash(path));
        Ok(Loaded::Image(Arc::new(self.transform.finish(&prepared, &mut stream))))
    }

    /// Reads, checks, decodes and prepares; the inner error is the cause of a broken image.
    fn prepare(&self, index: usize) -> Result<Result<Arc<RgbImage>, String>> {
        let sample = &self.dataset.samples[index];
        let file = self.dataset.file(index);
        let bytes = std::fs::read(&file).map_err(|error| Error::io("read", &file, error))?;
        if sample.digest.is_some_and(|expected| expected != Digest::of(&bytes)) {
            return Err(Error::failed(format!("`{}` changed while the stage was running", file.display()))
                .hint("leave the data as it is and run again: what was computed from the old bytes is not mixed with the new"));
        }
        let image = match decode(&bytes) {
            Ok(image) => image,
            Err(cause) => return Ok(Err(cause)),
        };
        let prepared = Arc::new(self.transform.prepare(image));
        let mut kept = self.kept();
        if let Some(left) = kept.bytes_left.checked_sub(prepared.as_raw().len()) {
            kept.bytes_left = left;
            kept.images.insert(index, prepared.clone());
        }
        Ok(Ok(prepared))
    }

    fn broken(&self, index: usize, cause: String) -> Result<Loaded> {
        match self.broken {
            Broken::Skip => Ok(Loaded::Broken(cause)),
            Broken::Error => {
                let file = self.dataset.file(index);
                Err(Error::failed(format!("cannot decode `{}`: {cause}", file.display()))
                    .hint("replace or remove the file, or set `broken = \"skip\"` to leave out such images"))
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
