//! Sheets of evaluated images, each next to a map of the places that its class depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Preprocess, StageContext};
use crate::data::{CacheBudget, Dataset, EpochOrder, Images, Loader};
use crate::device::to_device;
use crate::error::Result;
use crate::model::{Model, SaliencyMap, StateDict};
use crate::pipeline::Augment;
use crate::report::{ExplainedImage, explained_sheet, jpeg, rgb_image};
use crate::task::{ImageSheet, ShownImage, TaskFile};

/// The images of an evaluation, and what explains its predictions.
pub(super) struct ImageSheets<'a> {
    pub dataset: &'a Arc<Dataset>,
    pub preprocess: &'a Preprocess,
    pub context: &'a StageContext<'a>,
    /// The evaluated model; `None` if several are averaged.
    pub model: Option<(Model, StateDict)>,
}

impl ImageSheets<'_> {
    /// The file of a sheet. All of its images go through the network together.
    ///
    /// # Errors
    /// An image changed, or cannot be read and may not be skipped; interrupted.
    pub fn file(&self, sheet: &ImageSheet) -> Result<TaskFile> {
        let Self { dataset, preprocess, context, model } = self;
        let by_sample: BTreeMap<usize, &ShownImage> =
            sheet.images.iter().map(|shown| (shown.sample, shown)).collect();
        let memory = Arc::new(CacheBudget::new(0));
        let images = Images::for_training(Arc::clone(dataset), &preprocess.0, &Augment::default(), 0, memory);
        let images = Arc::new(images);
        let order: Vec<usize> = sheet.images.iter().map(|shown| shown.sample).collect();
        let batch_size = order.len();
        let epoch = EpochOrder::sequential(order, batch_size);
        let mut drawn = Vec::new();
        for batch in Loader::new(Arc::clone(&images), epoch, context.workers)? {
            context.interrupt.check()?;
            let batch = batch?;
            let (_, height, width, _) = batch.images.dims4()?;
            let shown: Vec<&ShownImage> =
                batch.samples.iter().filter_map(|sample| by_sample.get(sample).copied()).collect();
            let classes: Vec<usize> = shown.iter().map(|shown| shown.class).collect();
            let maps = match model {
                Some((model, state)) => {
                    model.saliency(state, &to_device(&batch.images, context.device)?, &classes)?
                }
                None => Vec::new(),
            };
            let maps = maps.into_iter().map(Some).chain(std::iter::repeat_with(|| None::<SaliencyMap>));
            for ((row, shown), saliency) in shown.into_iter().enumerate().zip(maps) {
                let numbers = batch.images.get(row)?.flatten_all()?.to_vec1::<f32>()?;
                drawn.push(ExplainedImage {
                    image: rgb_image([width as u32, height as u32], images.picture(&numbers))?,
                    saliency,
                    caption: shown.caption.clone(),
                    name: dataset.samples[shown.sample].path.clone(),
                });
            }
        }
        Ok(TaskFile::new(sheet.file, jpeg(&explained_sheet(&sheet.title, &drawn)?)?))
    }
}
