//! A data set's images as a stage sees them: read, checked against their digests, decoded, transformed, kept in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CacheBudget, Composed, ComposedPart, Composer};
use crate::data::{Dataset, EncodedImage, Geometry, GeometryChain, PreparedImage, Scratch, Transform};
use crate::digest::Digest;
use crate::pipeline::Broken;
use crate::random::{Purpose, Stream, name_hash};
use crate::regular_file::{self, ReadRefusal};
use crate::{Error, Result};

/// The bytes of an image file, at most: far more than any photo has.
pub const LARGEST_IMAGE: u64 = 1 << 30;

/// The images of a data set under one transform, shared by all epochs of a stage.
///
/// What a transform prepares (everything ahead of the random changes) is kept while the memory given lasts.
/// Every epoch asks for every image, so the first to come stay: making room for others would only trade one miss for
/// another.
pub struct Images {
    pub(super) dataset: Arc<Dataset>,
    pub(super) transform: Transform,
    broken: Broken,
    memory: Arc<CacheBudget>,
    kept: Mutex<BTreeMap<usize, Arc<PreparedImage>>>,
    /// Without one, every image shows its own sample alone.
    composer: Option<Arc<dyn Composer>>,
}

/// What became of a sample.
pub(super) enum Loaded {
    /// Its numbers are where they were asked for, and show these parts.
    Whole(Vec<ComposedPart>),
    /// This sample, which it needs, cannot be decoded, for this cause; it is left out.
    Broken(usize, String),
}

/// Memory of a thread that loads images.
#[derive(Default)]
pub(super) struct WorkerScratch {
    file: Vec<u8>,
    image: Scratch,
}

impl Images {
    /// `memory` is what may be spent on keeping prepared images; it changes no result.
    pub fn new(
        dataset: Arc<Dataset>,
        transform: Transform,
        broken: Broken,
        memory: Arc<CacheBudget>,
    ) -> Self {
        Self { dataset, transform, broken, memory, kept: Mutex::default(), composer: None }
    }

    /// The same with images of several samples.
    pub fn composed_by(self, composer: Arc<dyn Composer>) -> Self {
        Self { composer: Some(composer), ..self }
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
        scratch: &mut WorkerScratch,
        out: &mut [f32],
    ) -> Result<Loaded> {
        // By its path, so that another image joining the data set changes nothing here.
        let path = &self.dataset.samples[index].path;
        let mut stream = Stream::new(seed, Purpose::Augment, epoch, name_hash(path));
        if let Some(composer) = &self.composer {
            let mut draw = stream.with_purpose(Purpose::Compose);
            let parts = composer.parts(index, &mut draw);
            if parts != [index] {
                return self.load_composed(&parts, &**composer, draw, stream, scratch, out);
            }
        }
        let moves = match self.kept_of(index) {
            Some(kept) => Ok(self.transform.finish(&kept, &mut stream, &mut scratch.image, out)),
            None => self.decoded(index, scratch, |picture, scratch| {
                self.finish(index, picture, &mut stream, scratch, out)
            })?,
        };
        match moves {
            Ok(moves) => Ok(Loaded::Whole(vec![ComposedPart { sample: index, moves }])),
            Err(cause) => self.broken(index, cause),
        }
    }

    /// The same of an image of several samples.
    fn load_composed(
        &self,
        parts: &[usize],
        composer: &dyn Composer,
        mut draw: Stream,
        mut stream: Stream,
        scratch: &mut WorkerScratch,
        out: &mut [f32],
    ) -> Result<Loaded> {
        let mut prepared = Vec::with_capacity(parts.len());
        for &part in parts {
            let found = match self.kept_of(part) {
                Some(kept) => Ok(kept),
                None => {
                    self.decoded(part, scratch, |picture, scratch| self.prepare(part, picture, scratch))?
                }
            };
            match found {
                Ok(found) => prepared.push(found),
                Err(cause) => return self.broken(part, cause),
            }
        }
        let Composed { image, moves } = composer.compose(&prepared, &mut draw);
        let size = image.dimensions();
        if !self.transform.can_finish(size) || moves.len() != parts.len() {
            return Err(Error::bug(format!("{} parts were composed to {size:?} pixels", moves.len())));
        }
        let composed = PreparedImage { image, geometry: Geometry::identity(size) };
        let last = self.transform.finish(&composed, &mut stream, &mut scratch.image, out);
        let part = |((&sample, prepared), between): ((&usize, &Arc<PreparedImage>), GeometryChain)| {
            let moves = std::iter::once(prepared.geometry).chain(between.0).chain(last.0.iter().copied());
            ComposedPart { sample, moves: GeometryChain(moves.collect()) }
        };
        Ok(Loaded::Whole(parts.iter().zip(&prepared).zip(moves).map(part).collect()))
    }

    /// The outcome of work on a picture that is read and opened; the inner error is the cause of a broken image.
    fn decoded<T>(
        &self,
        index: usize,
        scratch: &mut WorkerScratch,
        work: impl FnOnce(&EncodedImage, &mut Scratch) -> Result<T, String>,
    ) -> Result<Result<T, String>> {
        let WorkerScratch { file, image } = scratch;
        if let Some(cause) = self.read(index, file)? {
            return Ok(Err(cause));
        }
        Ok(self.transform.open(file).and_then(|picture| work(&picture, image)))
    }

    /// Keeps what can be kept; the error is the cause of a broken image.
    fn finish(
        &self,
        index: usize,
        picture: &EncodedImage,
        stream: &mut Stream,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<GeometryChain, String> {
        match self.taken(picture) {
            None => self.transform.finish_unkept(picture, stream, scratch, out),
            Some(bytes) => {
                let prepared = self.keep(index, bytes, self.transform.prepare(picture, scratch))?;
                Ok(self.transform.finish(&prepared, stream, scratch, out))
            }
        }
    }

    /// The same of an image that is one of several parts.
    fn prepare(
        &self,
        index: usize,
        picture: &EncodedImage,
        scratch: &mut Scratch,
    ) -> Result<Arc<PreparedImage>, String> {
        match self.taken(picture) {
            None => self.transform.prepare(picture, scratch).map(Arc::new),
            Some(bytes) => self.keep(index, bytes, self.transform.prepare(picture, scratch)),
        }
    }

    /// The bytes that were taken from the budget to keep a picture; none where it is not kept.
    fn taken(&self, picture: &EncodedImage) -> Option<usize> {
        self.transform.kept_bytes(picture.size()).filter(|bytes| self.memory.take(*bytes))
    }

    /// Keeps an image for which bytes were taken. They are given back where there is nothing to keep, or where another
    /// thread kept it meanwhile.
    fn keep(
        &self,
        index: usize,
        bytes: usize,
        prepared: Result<PreparedImage, String>,
    ) -> Result<Arc<PreparedImage>, String> {
        let prepared = prepared.map(Arc::new);
        let new = match (&prepared, self.kept().entry(index)) {
            (Ok(prepared), Entry::Vacant(place)) => {
                place.insert(Arc::clone(prepared));
                true
            }
            _ => false,
        };
        if !new {
            self.memory.give_back(bytes);
        }
        prepared
    }

    fn kept_of(&self, index: usize) -> Option<Arc<PreparedImage>> {
        self.kept().get(&index).cloned()
    }

    /// Reads a sample's file and checks that it is the one that was planned with; the cause where it is too large.
    fn read(&self, index: usize, bytes: &mut Vec<u8>) -> Result<Option<String>> {
        let file = self.dataset.file(index);
        match regular_file::read_into(&file, LARGEST_IMAGE, bytes) {
            Ok(()) => {}
            Err(large @ ReadRefusal::TooLarge(_)) => return Ok(Some(large.to_string())),
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
            Broken::Skip => Ok(Loaded::Broken(index, cause)),
            Broken::Error => {
                let file = self.dataset.file(index);
                Err(Error::failed(format!("cannot decode `{}`: {cause}", file.display()))
                    .hint("replace or remove the file, or set `broken = \"skip\"` to leave out such images"))
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<PreparedImage>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
