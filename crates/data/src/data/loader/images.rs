//! The images of a data set for a stage: read, verified by digest, decoded, transformed and cached in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::epoch_sampler::sample_address;
use super::{CacheBudget, Composed, ComposedPart, Composer, Composition};
use crate::data::{
    BoxFilter, Dataset, EncodedImage, Geometry, GeometryChain, PreparedImage, Scratch, Transform,
};
use crate::digest::Digest;
use crate::pipeline::Broken;
use crate::random::{Purpose, Stream};
use crate::regular_file::{self, ReadRefusal};
use crate::{Error, Result};

/// The maximum size of an image file in bytes: far more than any photo has.
pub const LARGEST_IMAGE: u64 = 1 << 30;

/// The images of a data set under one transform, shared by all epochs of a stage.
///
/// The result of [`Transform::prepare`], everything before the random changes, is cached while the memory budget
/// lasts. Every epoch needs every image, so the first ones cached are never evicted: eviction would only replace one
/// cache miss by another.
pub struct Images {
    pub(super) dataset: Arc<Dataset>,
    pub(super) transform: Transform,
    broken: Broken,
    memory: Arc<CacheBudget>,
    kept: Mutex<BTreeMap<usize, Arc<PreparedImage>>>,
    /// `None` if every image shows only its own sample.
    composer: Option<Arc<dyn Composer>>,
}

/// What the random changes of an image depend on, apart from its sample.
#[derive(Clone, Copy)]
pub(super) struct ImageDraws {
    pub seed: u64,
    pub epoch: u32,
    /// How often the sample was in the epoch before.
    pub occurrence: u32,
    /// Of the views of a sample in an epoch, from 0.
    pub view: usize,
}

/// The result of loading a sample.
pub(super) enum Loaded {
    /// The values are written; the image shows these parts.
    Whole(Vec<ComposedPart>),
    /// This sample, which the image needs, cannot be decoded for this cause. The image is left out.
    Broken(usize, String),
}

/// The reusable memory of a loader thread.
#[derive(Default)]
pub(super) struct WorkerScratch {
    file: Vec<u8>,
    image: Scratch,
}

impl Images {
    /// `memory` is the budget for cached images; it does not affect results.
    pub fn new(
        dataset: Arc<Dataset>,
        transform: Transform,
        broken: Broken,
        memory: Arc<CacheBudget>,
    ) -> Self {
        Self { dataset, transform, broken, memory, kept: Mutex::default(), composer: None }
    }

    /// Composes every image. Pictures are prepared whole: their longer side has the size of the network's input.
    pub fn composed_by(self, composer: Arc<dyn Composer>) -> Self {
        Self { transform: self.transform.of_whole_pictures(), composer: Some(composer), ..self }
    }

    /// The RGB8 pixels of the normalised values of an image, to be looked at.
    pub fn picture(&self, numbers: &[f32]) -> Vec<u8> {
        self.transform.picture(numbers)
    }

    /// Whether every image becomes a square, as batches require.
    pub(super) fn is_square(&self) -> bool {
        self.composer.is_some() || self.transform.is_square()
    }

    /// Writes the values of a sample in an epoch.
    ///
    /// # Errors
    /// An unreadable file, a file whose bytes do not match its digest, or a broken image unless these are skipped.
    pub(super) fn load(
        &self,
        index: usize,
        draws: ImageDraws,
        scratch: &mut WorkerScratch,
        out: &mut [f32],
    ) -> Result<Loaded> {
        let mut stream = self.stream(index, draws);
        if let Some(composer) = &self.composer {
            let composition = composer.draw(index, draws.epoch, &stream);
            return self.load_composed(&*composition, stream, scratch, out);
        }
        let moves = match self.kept_of(index) {
            Some(kept) => Ok(self.transform.finish(&kept, &mut stream, &mut scratch.image, out)),
            None => self.decoded(index, scratch, |picture, scratch| {
                self.finish(index, picture, &mut stream, scratch, out)
            })?,
        };
        match moves {
            Ok(moves) => Ok(Loaded::Whole(vec![self.whole(index, moves)])),
            Err(cause) => self.broken(index, cause),
        }
    }

    /// What the image of a sample shows in an epoch, without reading its file: the same as when it is loaded. `size` is
    /// that of its upright picture.
    ///
    /// # Errors
    /// A bug: images are composed of several samples.
    pub fn part(&self, index: usize, size: [u32; 2], seed: u64, epoch: u32) -> Result<ComposedPart> {
        if self.composer.is_some() {
            return Err(Error::bug("a composed image shows more than one picture"));
        }
        let mut stream = self.stream(index, ImageDraws { seed, epoch, occurrence: 0, view: 0 });
        Ok(self.whole(index, self.transform.moves(size.into(), &mut stream)))
    }

    /// The part of an image that shows only this sample.
    fn whole(&self, sample: usize, moves: GeometryChain) -> ComposedPart {
        let filter = match self.transform.is_deterministic() {
            true => BoxFilter::VISIBLE,
            false => BoxFilter::training(0),
        };
        ComposedPart { sample, moves, filter }
    }

    /// The random numbers of a sample. They are keyed by its path, so that a new image in the data set changes nothing.
    fn stream(&self, index: usize, ImageDraws { seed, epoch, occurrence, view }: ImageDraws) -> Stream {
        let address = sample_address(&self.dataset.samples[index].path, occurrence);
        let first = Stream::new(seed, Purpose::Augment, epoch, address);
        // Each view's stream is derived from that of the view before.
        (0..view).fold(first, |stream, _| stream.with_purpose(Purpose::SecondView))
    }

    /// The address of the random draws after a sample is loaded. Each of its views, counted from 0, has its own.
    pub fn address(&self, index: usize, occurrence: u32, view: usize) -> u64 {
        let path = &self.dataset.samples[index].path;
        match view {
            0 => sample_address(path, occurrence),
            view => sample_address(&format!("{path}\0view {view}"), occurrence),
        }
    }

    /// As `load`, for an image of several samples.
    fn load_composed(
        &self,
        composition: &dyn Composition,
        mut stream: Stream,
        scratch: &mut WorkerScratch,
        out: &mut [f32],
    ) -> Result<Loaded> {
        let parts = composition.parts();
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
        let Composed { image, moves, cutting } = composition.compose(&prepared);
        let size = image.dimensions();
        if !self.transform.can_finish(size) || moves.len() != parts.len() {
            return Err(Error::bug(format!("{} parts were composed to {size:?} pixels", moves.len())));
        }
        let composed = PreparedImage { image, geometry: Geometry::identity(size) };
        let last = self.transform.finish(&composed, &mut stream, &mut scratch.image, out);
        let part = |((&sample, prepared), between): ((&usize, &Arc<PreparedImage>), GeometryChain)| {
            let moves = std::iter::once(prepared.geometry).chain(between.0).chain(last.0.iter().copied());
            // The first change prepares the picture.
            let filter = BoxFilter::training(1 + cutting);
            ComposedPart { sample, moves: GeometryChain(moves.collect()), filter }
        };
        Ok(Loaded::Whole(parts.iter().zip(&prepared).zip(moves).map(part).collect()))
    }

    /// Runs `work` on the opened picture. The inner error is the cause of a broken image.
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

    /// Transforms the image and caches its prepared form if the budget allows. The error is the cause of a broken image.
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

    /// Prepares an image that is one of several parts.
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

    /// Takes the bytes to cache a picture from the budget; `None` if it is not cached.
    fn taken(&self, picture: &EncodedImage) -> Option<usize> {
        self.transform.kept_bytes(picture.size()).filter(|bytes| self.memory.take(*bytes))
    }

    /// Caches an image for which bytes were taken. The bytes are returned if the image is not cached, or if another
    /// thread has cached it meanwhile.
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

    /// Reads a sample's file and verifies its digest. Returns the cause if the file is too large.
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
