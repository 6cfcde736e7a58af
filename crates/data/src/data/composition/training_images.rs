//! The images of a train stage.

use std::sync::Arc;

use super::SampleComposer;
use crate::data::{CacheBudget, Dataset, Images, Split, Transform};
use crate::pipeline::{Augment, ImageSettings};

impl Images {
    /// The images of a train stage of `epochs` epochs, with its random changes.
    pub fn for_training(
        dataset: Arc<Dataset>,
        settings: &ImageSettings,
        augment: &Augment,
        epochs: u32,
        memory: Arc<CacheBudget>,
    ) -> Self {
        let training = dataset.split(Split::Train);
        Self::composed_of(training, dataset, settings, augment, epochs, memory)
    }

    /// As [`Images::for_training`], with images that are composed of the samples `parts` only.
    pub fn composed_of(
        parts: Vec<usize>,
        dataset: Arc<Dataset>,
        settings: &ImageSettings,
        augment: &Augment,
        epochs: u32,
        memory: Arc<CacheBudget>,
    ) -> Self {
        let transform = Transform::training(settings, None, augment);
        let composer = SampleComposer::new(augment, &transform, dataset.label_kind, parts, epochs);
        let images = Self::new(dataset, transform, settings.broken, memory);
        match composer {
            Some(composer) => images.composed_by(Arc::new(composer)),
            None => images,
        }
    }
}
