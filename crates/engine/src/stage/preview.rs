//! What a train stage sees in an epoch: its images after all random changes, with their labels.

use std::sync::Arc;

use super::TrainStage;
use super::frozen_backbone::BatchChanges;
use crate::data::{CacheBudget, Dataset, EpochOrder, EpochSampler, Images, Label, LabelledBox, Loader};
use crate::error::{Error, Result};
use crate::ranks::BatchShare;
use crate::task::Annotations;

/// An image as the network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewImage {
    /// The path of the sample.
    pub path: String,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// RGB8, row by row: the normalisation is undone.
    pub pixels: Vec<u8>,
    /// The paths of the samples that the image shows.
    pub parts: Vec<String>,
    /// The objects, in fractions of width and height, if the data set has boxes.
    pub boxes: Option<Vec<LabelledBox>>,
    /// The weight of each class or label, by its index; empty if the data set has boxes.
    pub shares: Vec<(u32, f64)>,
}

impl TrainStage {
    /// The first `count` images of an epoch, counted from 0, in its order. Nothing is written.
    ///
    /// # Errors
    /// An image that cannot be read or decoded, and a data set without training images.
    pub fn preview(
        &self,
        dataset: &Arc<Dataset>,
        epoch: u32,
        count: usize,
        workers: usize,
    ) -> Result<Vec<PreviewImage>> {
        let settings = &self.settings;
        let sampler = EpochSampler::new(dataset, &settings.sampler, self.seed);
        if sampler.is_empty() {
            return Err(Error::failed("there are no training images"));
        }
        let memory = Arc::new(CacheBudget::new(0));
        let images = Arc::new(Images::for_training(
            Arc::clone(dataset),
            &self.preprocess.0,
            &settings.augment,
            settings.epochs,
            memory,
        ));
        let begun = self.prefixes.iter().rev().find(|prefix| prefix.after_epochs <= epoch);
        let view = begun.map_or(epoch, |prefix| prefix.view(epoch));
        let mut order = sampler.order(epoch);
        // Whole batches: an image may be mixed with the last of its batch.
        order.truncate(count.div_ceil(settings.batch_size).saturating_mul(settings.batch_size));
        let (batch_size, seed) = (settings.batch_size, self.seed);
        let order = EpochOrder {
            order,
            batch_size,
            views: self.model_spec.task.views(),
            share: BatchShare::all(0),
            seed,
            epoch: view,
            kept_views: begun.and_then(|prefix| prefix.views),
        };
        let changes = BatchChanges::new(&settings.augment, seed, dataset.label_kind);
        let mut shown = Vec::new();
        for batch in Loader::new(Arc::clone(&images), order, workers)? {
            let batch = batch?;
            let (tensor, weights) = changes.apply((batch.images, batch.index), view, &batch.streams)?;
            let (rows, height, width, _) = tensor.dims4()?;
            let objects = Annotations::of_images(dataset, &batch.samples, &batch.parts).objects;
            for (row, parts) in batch.parts.iter().enumerate().take(count - shown.len()) {
                let numbers = tensor.get(row)?.flatten_all()?.to_vec1::<f32>()?;
                let own = &dataset.samples[batch.samples[row]];
                let other = &dataset.samples[batch.samples[(row + rows - 1) % rows]];
                shown.push(PreviewImage {
                    path: own.path.clone(),
                    size: [width as u32, height as u32],
                    pixels: images.picture(&numbers),
                    parts: parts.iter().map(|part| dataset.samples[part.sample].path.clone()).collect(),
                    boxes: objects.as_ref().map(|objects| objects[row].boxes.clone()),
                    shares: match objects {
                        Some(_) => Vec::new(),
                        None => {
                            let weight = weights.as_ref().map_or(1.0, |weights| weights[row]);
                            shares((&own.label, weight), &other.label)
                        }
                    },
                });
            }
            if shown.len() == count {
                break;
            }
        }
        Ok(shown)
    }
}

/// The weights of the classes of an image and of the one that is mixed in.
fn shares((own, weight): (&Label, f64), other: &Label) -> Vec<(u32, f64)> {
    let mut shares: Vec<(u32, f64)> = own.classes().iter().map(|&class| (class, weight)).collect();
    if weight < 1.0 {
        for &class in other.classes().iter() {
            match shares.iter_mut().find(|(known, _)| *known == class) {
                Some((_, share)) => *share += 1.0 - weight,
                None => shares.push((class, 1.0 - weight)),
            }
        }
    }
    shares
}
