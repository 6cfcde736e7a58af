//! Features of the frozen layers: computed once per image, cached, and read in batches.
//!
//! Training on them gives the same bytes as training on images: a row depends only on the image and the layers. If
//! images have boxes, a row also has the size of its picture, which the boxes need.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::Value;

use super::frozen_backbone::{FrozenBackbone, sequential_epoch};
use super::picture_sizes;
use crate::data::{ComposedPart, Dataset, EpochOrder, Images, LabelKind, occurrences};
use crate::device::to_device;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::features::{FeatureLookup, FeatureSet, FeatureStore, RowLocation};
use crate::model::Activations;
use crate::pipeline::Broken;
use crate::random::name_hash;
use crate::ranks::{Reader, Writer};
use crate::task::{Annotated, Annotations};
use crate::train::TrainBatch;

/// The approximate bytes of each file of new rows.
const SEGMENT: usize = 64 << 20;

/// The features of the images of one transform.
pub(super) struct FeatureBatches<'a> {
    frozen: &'a FrozenBackbone<'a>,
    images: Arc<Images>,
    broken: Broken,
    /// The seed of the draws; only if images are augmented.
    seed: Option<u64>,
    store: &'a FeatureStore<'a>,
    made_of: Value,
    set: RefCell<FeatureSet>,
    /// The views with all rows present.
    compute_missing: RefCell<BTreeSet<u32>>,
    /// Whether the cache is full.
    refused: Cell<bool>,
}

impl<'a> FeatureBatches<'a> {
    /// `seed` addresses the random changes of `images`, if there are any.
    pub fn open(
        frozen: &'a FrozenBackbone<'a>,
        images: Arc<Images>,
        broken: Broken,
        seed: Option<u64>,
        store: &'a FeatureStore<'a>,
        made_of: Value,
    ) -> Result<Self> {
        let set = RefCell::new(store.open(&made_of, frozen.prefix.kind)?);
        let (complete, refused) = Default::default();
        Ok(Self { frozen, images, broken, seed, store, made_of, set, compute_missing: complete, refused })
    }

    /// Computes the missing rows of a view. Returns whether all rows are present afterwards: not if they cannot
    /// be stored.
    ///
    /// # Errors
    /// An image changed, or cannot be read and may not be skipped; interrupted. Computed rows are kept.
    pub fn complete(&self, samples: &[usize], view: u32) -> Result<bool> {
        if self.refused.get() || self.compute_missing.borrow().contains(&view) {
            return Ok(!self.refused.get());
        }
        let context = self.frozen.context;
        if !context.team.is_alone() {
            return self.complete_together(samples, view);
        }
        let (mut missing, mut stored) = self.missing(samples, view)?;
        let mut lock = None;
        if !missing.is_empty() {
            let mut waiting = || context.warn("waiting for another process that is computing these features");
            lock = Some(self.store.lock(&self.made_of, context.interrupt, &mut waiting)?);
            // The previous holder of the lock may have computed them.
            *self.set.borrow_mut() = self.store.open(&self.made_of, self.frozen.prefix.kind)?;
            (missing, stored) = self.missing(samples, view)?;
        }
        context.observer.event(&Event::FeaturesFound {
            stage: context.stage.to_owned(),
            images: samples.len() as u64,
            stored: stored as u64,
        });
        let count = missing.len();
        if !missing.is_empty() && !self.compute(missing, count, view)? {
            self.refused.set(true);
            return Ok(false);
        }
        drop(lock);
        self.note_complete(samples, view)?;
        Ok(true)
    }

    /// [`Self::complete`] of several ranks: rank 0 says what is missing, and each computes and publishes a part of it.
    fn complete_together(&self, samples: &[usize], view: u32) -> Result<bool> {
        let context = self.frozen.context;
        let team = context.team;
        let mut lock = None;
        let missing = match team.leads() {
            false => Ok(Vec::new()),
            true => (|| {
                let mut waiting =
                    || context.warn("waiting for another process that is computing these features");
                lock = Some(self.store.lock(&self.made_of, context.interrupt, &mut waiting)?);
                *self.set.borrow_mut() = self.store.open(&self.made_of, self.frozen.prefix.kind)?;
                let (missing, stored) = self.missing(samples, view)?;
                context.observer.event(&Event::FeaturesFound {
                    stage: context.stage.to_owned(),
                    images: samples.len() as u64,
                    stored: stored as u64,
                });
                let mut list = Writer::default();
                list.indices(&missing);
                Ok(list.finish())
            })(),
        };
        let lists = team.gather(missing)?;
        let missing = Reader::new(&lists[0]).indices()?;
        let own = missing.iter().copied().skip(team.rank()).step_by(team.count()).collect::<Vec<_>>();
        let kept = if own.is_empty() { Ok(true) } else { self.compute(own, missing.len(), view) };
        let kept = team.gather(kept.map(|kept| vec![u8::from(kept)]))?.concat();
        drop(lock);
        let present = || {
            *self.set.borrow_mut() = self.store.open(&self.made_of, self.frozen.prefix.kind)?;
            Ok(vec![u8::from(self.missing(samples, view)?.0.is_empty())])
        };
        // Where a rank does not see the files of another, all compute the features of their batches.
        if !kept.contains(&0) && !team.gather(present())?.concat().contains(&0) {
            self.note_complete(samples, view)?;
            return Ok(true);
        }
        self.refused.set(true);
        Ok(false)
    }

    fn note_complete(&self, samples: &[usize], view: u32) -> Result<()> {
        for &sample in samples {
            if self.find(sample, view)? == Some(FeatureLookup::Unreadable) {
                self.frozen.note_broken(sample);
            }
        }
        self.compute_missing.borrow_mut().insert(view);
        Ok(())
    }

    /// The samples without a row, each content once, and the number of those with one.
    fn missing(&self, samples: &[usize], view: u32) -> Result<(Vec<usize>, usize)> {
        let mut seen = BTreeSet::new();
        let (mut missing, mut stored) = (Vec::new(), 0);
        for &sample in samples {
            // If an unreadable image is an error, it is read again to report the cause.
            let kept = match self.find(sample, view)? {
                Some(FeatureLookup::Row(_)) => true,
                Some(FeatureLookup::Unreadable) => self.broken == Broken::Skip,
                None => false,
            };
            if kept {
                stored += 1;
            } else if seen.insert(self.key(sample, view)?) {
                missing.push(sample);
            }
        }
        Ok((missing, stored))
    }

    fn key(&self, sample: usize, view: u32) -> Result<Digest> {
        key(&self.frozen.dataset, sample, self.seed.map(|_| view))
            .ok_or_else(|| Error::bug("features of an image without a digest"))
    }

    fn find(&self, sample: usize, view: u32) -> Result<Option<FeatureLookup>> {
        Ok(self.set.borrow().find(&self.key(sample, view)?))
    }

    /// Computes and stores rows; false if the cache is full. `all` is the number of rows that all ranks compute.
    fn compute(&self, missing: Vec<usize>, all: usize, view: u32) -> Result<bool> {
        let context = self.frozen.context;
        let refuse = |why: &str| {
            context.warn(format!(
                "the features of the frozen layers are not kept: {why}; they are recomputed every time"
            ));
            Ok(false)
        };
        let room = self.store.available_bytes()?;
        let excess = |row: usize| {
            let needed = row as u64 * all as u64;
            (needed > room).then(|| {
                format!("they take {}, but `run.feature_cache` has {} left", size(needed), size(room))
            })
        };
        if let Some(why) = self.set.borrow().row_bytes().and_then(excess) {
            return refuse(&why);
        }
        let epoch =
            EpochOrder { seed: self.seed.unwrap_or(0), epoch: view, ..sequential_epoch(missing.clone()) };
        let mut draft = self.set.borrow().writer();
        let mut done = 0;
        let (started, mut published) = ((context.clock)(), (context.clock)());
        let mut unreadable: BTreeSet<usize> = missing.iter().copied().collect();
        let mut failed = None;
        for batch in self.frozen.batches(&self.images, epoch, None, None)? {
            let batch = match context.interrupt.check().and(batch) {
                Ok(batch) => batch,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let keys =
                batch.samples.iter().map(|&sample| self.key(sample, view)).collect::<Result<Vec<_>>>()?;
            let features = batch.input.tensors().map(|tensor| Ok(tensor.to_device(&Device::Cpu)?));
            let mut features = features.collect::<Result<Vec<_>>>()?;
            features.extend(picture_sizes::tensor(&batch.targets)?);
            draft.push(&keys, &features)?;
            batch.samples.iter().for_each(|sample| _ = unreadable.remove(sample));
            if done == 0
                && let Some(why) = excess(draft.bytes() / keys.len())
            {
                return refuse(&why);
            }
            done += keys.len();
            let now = (context.clock)();
            context.observer.event(&Event::Features {
                stage: context.stage.to_owned(),
                done: done as u64,
                of: missing.len() as u64,
                images_per_second: done as f64 / (now - started).max(1e-9),
            });
            if draft.bytes() >= SEGMENT || now - published >= context.checkpoint_seconds {
                let rows = std::mem::replace(&mut draft, self.set.borrow().writer());
                if let Err(error) = self.store.publish(&self.made_of, &mut self.set.borrow_mut(), rows) {
                    return refuse(&error.message);
                }
                published = now;
            }
        }
        if failed.is_none() {
            for sample in unreadable {
                draft.push_unreadable(self.key(sample, view)?);
            }
        }
        let kept = self.store.publish(&self.made_of, &mut self.set.borrow_mut(), draft);
        match (failed, kept) {
            (Some(error), _) if error.kind == ErrorKind::Interrupted => {
                Err(error.hint("run the same command again to continue"))
            }
            (Some(error), _) => Err(error),
            (None, Err(error)) => refuse(&error.message),
            (None, Ok(())) => Ok(true),
        }
    }

    /// Batches of rows. The views that they show are complete.
    pub fn batches(&self, order: EpochOrder) -> Annotated<'_> {
        let occurrences = occurrences(&order.order);
        Box::new(order.selected().filter_map(move |index| {
            let end = order.order.len().min((index + 1) * order.batch_size);
            let places = index * order.batch_size..end;
            let rows = order.order[places.clone()].iter().copied().zip(occurrences[places].iter().copied());
            self.batch(index, rows, &order).transpose()
        }))
    }

    /// The readable ones of some samples, each with the number of times that it was in the epoch before.
    fn batch(
        &self,
        index: usize,
        rows: impl Iterator<Item = (usize, u32)>,
        order: &EpochOrder,
    ) -> Result<Option<TrainBatch<Annotations<'_>>>> {
        let (mut places, mut readable): (Vec<RowLocation>, Vec<usize>) = Default::default();
        let mut streams = Vec::new();
        for (sample, occurrence) in rows {
            if let Some(FeatureLookup::Row(place)) = self.find(sample, order.kept_view(occurrence))? {
                places.push(place);
                readable.push(sample);
                streams.push(self.images.address(sample, occurrence, 0));
            }
        }
        if readable.is_empty() {
            return Ok(None);
        }
        let mut rows = self.set.borrow().gather(&places)?;
        let parts = self.parts(&readable, &mut rows, order.kept_view(0))?;
        let rows = rows.iter().map(|tensor| to_device(tensor, self.frozen.context.device));
        Ok(Some(TrainBatch {
            index,
            input: Activations::constants(rows.collect::<Result<Vec<_>>>()?),
            layer: self.frozen.prefix.layers,
            targets: Annotations::of_images(&self.frozen.dataset, &readable, &parts),
            streams,
            samples: readable,
            teacher: None,
        }))
    }

    /// What the images of a view show, if they have boxes, which move as the pixels did. Takes the tensor of sizes out of
    /// the rows.
    fn parts(&self, samples: &[usize], rows: &mut Vec<Tensor>, view: u32) -> Result<Vec<Vec<ComposedPart>>> {
        if self.frozen.dataset.label_kind != LabelKind::Boxes {
            return Ok(Vec::new());
        }
        let sizes = rows.pop().ok_or_else(|| Error::bug("rows without the sizes of pictures"))?;
        let seed = self.seed.unwrap_or(0);
        let part = |(&sample, size)| Ok(vec![self.images.part(sample, size, seed, view)?]);
        samples.iter().zip(picture_sizes::of_rows(&sizes)?).map(part).collect()
    }
}

/// An amount of disk space in words.
fn size(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    if megabytes < 1000.0 { format!("{megabytes:.1} MB") } else { format!("{:.1} GB", megabytes / 1000.0) }
}

/// The address of an image's row: its content. The path determines the draws of a view, so the row of a view is
/// addressed by both. `None` for an image without a digest.
pub(super) fn key(dataset: &Dataset, sample: usize, view: Option<u32>) -> Option<Digest> {
    let sample = &dataset.samples[sample];
    let (content, Some(view)) = (sample.digest?, view) else { return sample.digest };
    let mut hasher = Hasher::default();
    hasher.update(content.as_bytes());
    hasher.update(&name_hash(&sample.path).to_le_bytes());
    hasher.update(&view.to_le_bytes());
    Some(hasher.finish())
}
