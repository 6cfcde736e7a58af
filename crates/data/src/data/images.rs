//! A data set's images as a stage sees them: read, checked against their digests, decoded, transformed, kept in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::RgbImage;

use super::dataset::Dataset;
use super::decode::Picture;
use super::memory::Memory;
use super::transform::{Bench, Transform};
use crate::digest::Digest;
use crate::pipeline::Broken;
use crate::random::{Purpose, Stream, name_hash};
use crate::regular::{self, Refused};
use crate::{Error, Result};

/// The bytes of an image file, at most: far more than any photo has.
pub const LARGEST_IMAGE: u64 = 1 << 30;

/// The images of a data set under one transform, shared by all epochs of a stage.
///
/// What a transform prepares (everything ahead of the random changes) is kept as RGB8 while the memory given lasts.
/// Every epoch asks for every image, so the first to come stay: making room for others would only trade one miss for
/// another.
pub struct Images {
    pub(super) dataset: Arc<Dataset>,
    pub(super) transform: Transform,
    broken: Broken,
    memory: Arc<Memory>,
    kept: Mutex<BTreeMap<usize, Arc<RgbImage>>>,
}

/// What became of a sample.
pub(super) enum Loaded {
    /// Its numbers are where they were asked for.
    Whole,
    /// It cannot be decoded, for this cause, and is to be left out.
    Broken(String),
}

/// Memory of a thread that loads images.
#[derive(Default)]
pub(super) struct Hands {
    file: Vec<u8>,
    bench: Bench,
}

impl Images {
    /// `memory` is what may be spent on keeping prepared images; it changes no result.
    pub fn new(dataset: Arc<Dataset>, transform: Transform, broken: Broken, memory: Arc<Memory>) -> Self {
        Self { dataset, transform, broken, memory, kept: Mutex::default() }
    }

    /// Writes the numbers of a sample in an epoch.
    ///
    /// # Errors
    /// An unreadable file, one whose bytes are not those of its digest, and a broken image unless these are skipped.
    pub(super) fn load(
        &self,
        index: usize,
        seed: u64,
        epoch: u32,
        hands: &mut Hands,
        out: &mut [f32],
    ) -> Result<Loaded> {
        // By its path, so that another image joining the data set changes nothing here.
        let path = &self.dataset.samples[index].path;
        let mut stream = Stream::new(seed, Purpose::Augment, epoch, name_hash(path));
        let kept = self.kept().get(&index).cloned();
        if let Some(prepared) = kept {
            self.transform.finish(&prepared, &mut stream, &mut hands.bench, out);
            return Ok(Loaded::Whole);
        }
        if let Some(cause) = self.read(index, &mut hands.file)? {
            return self.broken(index, cause);
        }
        let done = self
            .transform
            .open(&hands.file)
            .and_then(|picture| self.make(index, &picture, &mut stream, &mut hands.bench, out));
        match done {
            Ok(()) => Ok(Loaded::Whole),
            Err(cause) => self.broken(index, cause),
        }
    }

    /// Keeps what can be kept; the error is the cause of a broken image.
    fn make(
        &self,
        index: usize,
        picture: &Picture,
        stream: &mut Stream,
        bench: &mut Bench,
        out: &mut [f32],
    ) -> Result<(), String> {
        let bytes = self.transform.kept_bytes(picture.size());
        if !bytes.is_some_and(|bytes| self.memory.take(bytes)) {
            return self.transform.finish_unkept(picture, stream, bench, out);
        }
        let prepared = self.transform.prepare(picture, bench).map(Arc::new);
        let new = match (&prepared, self.kept().entry(index)) {
            (Ok(prepared), Entry::Vacant(place)) => {
                place.insert(Arc::clone(prepared));
                true
            }
            _ => false,
        };
        if !new {
            self.memory.give_back(bytes.unwrap_or(0));
        }
        self.transform.finish(&*prepared?, stream, bench, out);
        Ok(())
    }

    /// Reads a sample's file and checks that it is the one that was planned with; the cause where it is too large.
    fn read(&self, index: usize, bytes: &mut Vec<u8>) -> Result<Option<String>> {
        let file = self.dataset.file(index);
        match regular::read_into(&file, LARGEST_IMAGE, bytes) {
            Ok(()) => {}
            Err(large @ Refused::TooLarge(_)) => return Ok(Some(large.to_string())),
            Err(refused) => return Err(Error::io("read", &file, refused.into())),
        }
        if self.dataset.samples[index].digest.is_some_and(|expected| expected != Digest::of(bytes)) {
            return Err(Error::failed(format!("`{}` changed while the stage was running", file.display()))
                .hint("run again without changing the data: results of old and new bytes are never mixed"));
        }
        Ok(None)
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

    fn kept(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<RgbImage>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
