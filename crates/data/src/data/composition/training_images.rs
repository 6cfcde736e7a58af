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
        let transform = Transform::training(settings, None, augment);
        let training = dataset.split(Split::Train);
        let composer = SampleComposer::new(augment, &transform, dataset.label_kind, training, epochs);
        let images = Self::new(dataset, transform, settings.broken, memory);
        match composer {
            Some(composer) => images.composed_by(Arc::new(composer)),
            None => images,
        }
    }
}
