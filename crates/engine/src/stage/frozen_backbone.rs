//! Runs images through the frozen layers.
//!
//! They run as inference, in which a sample's result depends on nothing but the sample: neither on time nor on
//! the other samples of the batch.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::Tensor;

use super::teacher::Teacher;
use super::{FrozenPrefix, StageContext};
use crate::autograd::Value;
use crate::data::{BatchMixer, BatchResizer, Dataset, EpochOrder, ImageBatch, Images, LabelKind, Loader};
use crate::device::{round_to_bf16, to_device};
use crate::error::Result;
use crate::model::{Activations, Model, Pass, StateDict};
use crate::pipeline::{Augment, FeatureType};
use crate::task::{Annotated, Annotations};
use crate::train::TrainBatch;

/// Images per inference batch; it affects only memory.
pub(crate) const INFERENCE_BATCH: usize = 32;

/// The first layers of a model, and their images.
pub(super) struct FrozenBackbone<'a> {
    pub dataset: Arc<Dataset>,
    pub model: &'a Model,
    pub state: &'a StateDict,
    pub prefix: FrozenPrefix,
    pub context: &'a StageContext<'a>,
    /// Paths of unreadable images.
    broken: RefCell<BTreeSet<String>>,
}

impl<'a> FrozenBackbone<'a> {
    pub fn new(
        dataset: &Arc<Dataset>,
        model: &'a Model,
        state: &'a StateDict,
        prefix: &FrozenPrefix,
        context: &'a StageContext<'a>,
    ) -> Self {
        let (dataset, prefix) = (Arc::clone(dataset), prefix.clone());
        Self { dataset, model, state, prefix, context, broken: RefCell::default() }
    }

    /// Batches of features; of changed images if there are changes of batches, and with the teacher's outputs if there
    /// is a teacher.
    pub fn batches<'b>(
        &'b self,
        images: &Arc<Images>,
        epoch: EpochOrder,
        changes: Option<&'b BatchChanges>,
        teacher: Option<&'b Teacher>,
    ) -> Result<Annotated<'b>> {
        let number = epoch.epoch;
        let mut loader = Loader::new(Arc::clone(images), epoch, self.context.workers)?;
        let mut pass = Pass::inference(self.state);
        let mut taught = teacher.map(|teacher| (teacher, teacher.pass()));
        Ok(Box::new(std::iter::from_fn(move || {
            let batch = loader.next();
            loader.skipped().keys().for_each(|sample| self.note_broken(*sample));
            let through = |batch: ImageBatch| {
                let mut targets = Annotations::of_images(&self.dataset, &batch.samples, &batch.parts);
                let images;
                (images, targets.shares) = match changes {
                    Some(changes) => changes.apply((batch.images, batch.index), number, &batch.streams)?,
                    None => (batch.images, None),
                };
                let teacher =
                    taught.as_mut().map(|(teacher, pass)| teacher.outputs(pass, &images)).transpose()?;
                Ok(TrainBatch {
                    index: batch.index,
                    teacher,
                    input: self.forward(&mut pass, images)?,
                    layer: self.prefix.layers,
                    targets,
                    streams: batch.streams,
                    samples: batch.samples,
                })
            };
            Some(batch?.and_then(through))
        })))
    }

    fn forward(&self, pass: &mut Pass, images: Tensor) -> Result<Activations> {
        let layers = 0..self.prefix.layers;
        let images = to_device(&images, self.context.device)?;
        let features = self.model.forward_layers(pass, layers, Value::constant(images))?;
        match self.prefix.kind {
            FeatureType::F32 => Ok(features),
            // Rounded as stored features are, whether they are stored or not.
            FeatureType::Bf16 => features.map(round_to_bf16),
        }
    }

    pub fn note_broken(&self, sample: usize) {
        self.broken.borrow_mut().insert(self.dataset.samples[sample].path.clone());
    }

    pub fn add_broken(&self, paths: &BTreeSet<String>) {
        self.broken.borrow_mut().extend(paths.iter().cloned());
    }

    pub fn broken(&self) -> BTreeSet<String> {
        self.broken.borrow().clone()
    }
}

/// The random changes of whole batches.
#[derive(Clone)]
pub(super) struct BatchChanges {
    mixer: Option<BatchMixer>,
    resizer: Option<BatchResizer>,
}

impl BatchChanges {
    pub fn new(augment: &Augment, seed: u64, label_kind: LabelKind) -> Self {
        // Images with boxes are mixed before: each keeps its own boxes.
        let mixer = BatchMixer::new(augment, seed).filter(|_| label_kind != LabelKind::Boxes);
        Self { mixer, resizer: BatchResizer::new(augment, seed) }
    }

    /// The changed images of a batch with this index, and the weight of each image itself if they were mixed. `streams`
    /// identify the random stream of each image.
    pub fn apply(
        &self,
        (mut images, index): (Tensor, usize),
        epoch: u32,
        streams: &[u64],
    ) -> Result<(Tensor, Option<Vec<f64>>)> {
        let mut shares = None;
        if let Some(mixer) = &self.mixer {
            let (mixed, weights) = mixer.mix(&images, epoch, streams)?;
            (images, shares) = (mixed, Some(weights));
        }
        if let Some(resizer) = &self.resizer {
            images = resizer.resize(&images, epoch, index)?;
        }
        Ok((images, shares))
    }
}

/// Samples in the given order, without randomness.
pub(super) fn sequential_epoch(order: Vec<usize>) -> EpochOrder {
    EpochOrder::sequential(order, INFERENCE_BATCH)
}
