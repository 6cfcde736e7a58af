//! Loads batches ahead with a few threads and returns them in order.
//!
//! Each thread takes one sample at a time and never waits for another. It writes the values directly into the memory
//! of the batch; the thread that finishes the last sample completes the batch. The result does not depend on the
//! threads: the order is fixed and each sample has its own random draws. Of several errors in a batch, the first by
//! position is reported.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use candle_core::{Device, Tensor};

use super::batch_buffer::BatchBuffer;
use super::composer::ComposedPart;
use super::epoch_sampler::occurrences;
use super::images::{ImageDraws, Images, Loaded, WorkerScratch};
use crate::ranks::BatchShare;
use crate::{Error, Result};

/// One pass over samples.
#[derive(Clone, Debug)]
pub struct EpochOrder {
    /// Indices of samples, in the order to load. A sample that comes again has other random changes.
    pub order: Vec<usize>,
    /// Samples per batch; the last batch has the remainder.
    pub batch_size: usize,
    /// Images of each sample, one after the other in its batch, with random changes of their own.
    pub views: usize,
    /// The batches to load: those from the first one on when resuming within an epoch, or those of a rank.
    pub share: BatchShare,
    /// Seed and epoch number of the random changes.
    pub seed: u64,
    pub epoch: u32,
    /// If random changes are those of a number of epochs that take turns: that number. A sample that comes again has those
    /// of the next one.
    pub kept_views: Option<u32>,
}

impl EpochOrder {
    /// Samples in the given order, one image of each, with the random changes of the first epoch.
    pub fn sequential(order: Vec<usize>, batch_size: usize) -> Self {
        Self { order, batch_size, views: 1, share: BatchShare::all(0), seed: 0, epoch: 0, kept_views: None }
    }

    /// The number of batches of the whole pass, from batch 0.
    pub fn batches(&self) -> usize {
        self.order.len().div_ceil(self.batch_size)
    }

    /// The batches to load, in order.
    pub fn selected(&self) -> impl Iterator<Item = usize> + use<> {
        let share = self.share;
        (share.start()..self.batches()).filter(move |batch| share.contains(*batch))
    }

    /// The number of images of a batch.
    fn images_of(&self, batch: usize) -> usize {
        let samples = self.order.len().saturating_sub(batch * self.batch_size).min(self.batch_size);
        samples * self.views
    }

    /// Images per batch.
    fn batch_images(&self) -> usize {
        self.batch_size * self.views
    }

    /// The address of the random changes of a sample that was in the order this often before.
    fn draws(&self, occurrence: u32, view: usize) -> ImageDraws {
        let (epoch, occurrence) = match self.kept_views {
            None => (self.epoch, occurrence),
            Some(_) => (self.kept_view(occurrence), 0),
        };
        ImageDraws { seed: self.seed, epoch, occurrence, view }
    }

    /// The kept view of a sample that was in the order this often before; 0 if no views are kept.
    pub fn kept_view(&self, occurrence: u32) -> u32 {
        let views = self.kept_views.map_or(1, |views| views.max(1));
        ((u64::from(self.epoch) + u64::from(occurrence)) % u64::from(views)) as u32
    }
}

/// A batch of images and their samples.
#[derive(Debug)]
pub struct ImageBatch {
    /// The position in the epoch, from 0.
    pub index: usize,
    /// [N, size, size, channels] in f32, normalised.
    pub images: Tensor,
    /// The sample of each image; broken images are left out.
    pub samples: Vec<usize>,
    /// The stream address of each image's random draws after it is loaded.
    pub streams: Vec<u64>,
    /// The samples that each image shows: its own, with others if several are composed.
    pub parts: Vec<Vec<ComposedPart>>,
}

/// An iterator over the batches of an epoch.
///
/// A batch whose images are all broken is skipped. After an error the iterator ends. When the loader is dropped, its
/// threads end after their current image.
pub struct Loader {
    shared: Arc<SharedLoader>,
    workers: Vec<JoinHandle<()>>,
    skipped: BTreeMap<usize, String>,
}

struct SharedLoader {
    images: Arc<Images>,
    epoch: EpochOrder,
    /// The batches to load, in order. Below, a place is a position in this list.
    selected: Vec<usize>,
    /// The number of their images.
    images_to_load: usize,
    /// For each entry of the order, how often its sample was in it before.
    occurrences: Vec<u32>,
    /// How many samples may be loaded beyond the returned batches: the memory bound.
    ahead: usize,
    state: Mutex<LoaderState>,
    /// Notified when there is a sample to take, or when to stop.
    work: Condvar,
    /// Notified when a batch is ready, or when no more will follow.
    ready: Condvar,
}

struct LoaderState {
    /// The next image to take, counted over the selected batches.
    next: usize,
    /// The place of the next batch to return; `batches[0]` is its slot.
    front: usize,
    /// The batches in progress.
    batches: VecDeque<BatchSlot>,
    stopped: bool,
    panicked: bool,
}

enum BatchSlot {
    Loading(Loading),
    Ready(Result<Assembled>),
}

struct Loading {
    missing: usize,
    samples: Vec<Option<Result<Loaded>>>,
    buffer: Arc<BatchBuffer>,
}

struct Assembled {
    batch: Option<ImageBatch>,
    skipped: Vec<(usize, String)>,
}

impl Loader {
    /// Starts `workers` threads (at least one) that load two batches ahead, or more if batches are small.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(images: Arc<Images>, epoch: EpochOrder, workers: usize) -> Result<Self> {
        if !images.is_square() {
            return Err(Error::bug("a batch of images that are not squares"));
        }
        let workers = workers.max(1);
        let ahead = 2 * epoch.batch_images().max(workers);
        let selected: Vec<usize> = epoch.selected().collect();
        // Only the last batch may be short.
        let images_to_load = selected.iter().map(|batch| epoch.images_of(*batch)).sum();
        let batches = VecDeque::new();
        let state = LoaderState { next: 0, front: 0, batches, stopped: false, panicked: false };
        let threads = workers.min(images_to_load);
        let shared = Arc::new(SharedLoader {
            images,
            occurrences: occurrences(&epoch.order),
            epoch,
            selected,
            images_to_load,
            ahead,
            state: Mutex::new(state),
            work: Condvar::new(),
            ready: Condvar::new(),
        });
        let mut loader = Self { shared: shared.clone(), workers: Vec::new(), skipped: BTreeMap::new() };
        for _ in 0..threads {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name("images".into()).spawn(move || shared.work());
            let thread = thread.map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
            loader.workers.push(thread);
        }
        Ok(loader)
    }

    /// The broken samples of the batches returned so far, each with its cause.
    pub fn skipped(&self) -> &BTreeMap<usize, String> {
        &self.skipped
    }
}

impl Iterator for Loader {
    type Item = Result<ImageBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.shared.hand_over()? {
                Ok(Assembled { batch, skipped }) => {
                    self.skipped.extend(skipped);
                    if let Some(batch) = batch {
                        return Some(Ok(batch));
                    }
                }
                Err(error) => {
                    self.shared.stop();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // The panic of a worker has already been reported as an error.
            let _ = worker.join();
        }
    }
}

impl SharedLoader {
    fn state(&self) -> MutexGuard<'_, LoaderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.work.notify_all();
        self.ready.notify_all();
    }

    /// Waits for the front batch; `None` after the last one or after a stop.
    fn hand_over(&self) -> Option<Result<Assembled>> {
        let mut state = self.state();
        while !state.stopped && state.front < self.selected.len() {
            if state.panicked {
                return Some(Err(Error::bug("a thread that loads images panicked")));
            }
            if let Some(BatchSlot::Ready(_)) = state.batches.front() {
                let Some(BatchSlot::Ready(batch)) = state.batches.pop_front() else {
                    unreachable!("just seen")
                };
                state.front += 1;
                self.work.notify_all();
                return Some(batch);
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn work(&self) {
        // After a panic here, the loader must not wait forever.
        let _alarm = PanicAlarm(self);
        let mut scratch = WorkerScratch::default();
        while let Some((taken, buffer)) = self.take() {
            let EpochOrder { ref order, views, .. } = self.epoch;
            let batch_images = self.epoch.batch_images();
            let (slot, place) = (taken / batch_images, taken % batch_images);
            let position = self.selected[slot] * batch_images + place;
            // SAFETY: each position is taken once, so no other thread has this slot of the buffer.
            let numbers = unsafe { buffer.slot_mut(place) };
            let draws = self.epoch.draws(self.occurrences[position / views], position % views);
            let loaded = self.images.load(order[position / views], draws, &mut scratch, numbers);
            drop(buffer);
            if let Some(loading) = self.put(slot, place, loaded) {
                let batch = self.assemble(self.selected[slot], loading);
                let mut state = self.state();
                let ahead = slot - state.front;
                state.batches[ahead] = BatchSlot::Ready(batch);
                self.ready.notify_all();
            }
        }
    }

    /// The next image and the memory of its batch, when the memory bound allows it.
    fn take(&self) -> Option<(usize, Arc<BatchBuffer>)> {
        let (images, batch_images) = (self.images_to_load, self.epoch.batch_images());
        let mut state = self.state();
        loop {
            if state.stopped || state.next == images {
                return None;
            }
            if state.next < state.front * batch_images + self.ahead {
                break;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let taken = state.next;
        state.next += 1;
        let slot = taken / batch_images;
        if slot == state.front + state.batches.len() {
            let missing = batch_images.min(images - taken);
            let samples = (0..missing).map(|_| None).collect();
            let side = self.images.transform.image_size();
            let buffer = Arc::new(BatchBuffer::new(missing, side * side * self.images.transform.channels()));
            state.batches.push_back(BatchSlot::Loading(Loading { missing, samples, buffer }));
        }
        let BatchSlot::Loading(loading) = &state.batches[slot - state.front] else {
            unreachable!("a batch is not ready while a sample is missing")
        };
        Some((taken, Arc::clone(&loading.buffer)))
    }

    /// Records the result of a sample; returns the batch when it is complete.
    fn put(&self, slot: usize, place: usize, loaded: Result<Loaded>) -> Option<Loading> {
        let mut state = self.state();
        let ahead = slot - state.front;
        let BatchSlot::Loading(loading) = &mut state.batches[ahead] else {
            unreachable!("a batch is not ready while a sample is missing")
        };
        loading.samples[place] = Some(loaded);
        loading.missing -= 1;
        (loading.missing == 0).then(|| Loading {
            missing: 0,
            samples: std::mem::take(&mut loading.samples),
            buffer: std::mem::take(&mut loading.buffer),
        })
    }

    fn assemble(&self, index: usize, loading: Loading) -> Result<Assembled> {
        let transform = &self.images.transform;
        let EpochOrder { order, batch_size, views, .. } = &self.epoch;
        let (mut samples, mut places, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        let (mut parts, mut streams) = (Vec::new(), Vec::new());
        for (place, loaded) in loading.samples.into_iter().enumerate() {
            let position = index * batch_size + place / views;
            let sample = order[position];
            match loaded.expect("no sample of a finished batch is missing")? {
                Loaded::Whole(shown) => {
                    samples.push(sample);
                    streams.push(self.images.address(sample, self.occurrences[position], place % views));
                    parts.push(shown);
                    places.push(place);
                }
                Loaded::Broken(broken, cause) => skipped.push((broken, cause)),
            }
        }
        let batch = if samples.is_empty() {
            None
        } else {
            let buffer = Arc::into_inner(loading.buffer).expect("who has finished a sample has let go");
            let side = transform.image_size();
            let images = Tensor::from_vec(
                buffer.into_samples(&places),
                (samples.len(), side, side, transform.channels()),
                &Device::Cpu,
            )?;
            Some(ImageBatch { index, images, samples, streams, parts })
        };
        Ok(Assembled { batch, skipped })
    }
}

/// Wakes the owner when a worker panics.
struct PanicAlarm<'a>(&'a SharedLoader);

impl Drop for PanicAlarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().panicked = true;
            self.0.ready.notify_all();
        }
    }
}
