//! Example images of an evaluated split, drawn by the task.

use std::sync::Arc;

use super::{Preprocess, StageContext};
use crate::autograd::Value;
use crate::data::{CacheBudget, Dataset, EpochOrder, ImageBatch, Images, Loader};
use crate::device::to_device;
use crate::error::Result;
use crate::events::Event;
use crate::model::{Model, Pass, StateDict};
use crate::pipeline::Augment;
use crate::task::{Annotations, EXAMPLES_IN_BATCH, Examples, InputPicture, Task, TaskFile};

/// A model and the images that it is evaluated on.
pub(super) struct ExampleImages<'a> {
    pub dataset: &'a Arc<Dataset>,
    pub preprocess: &'a Preprocess,
    pub model: &'a Model,
    pub state: &'a StateDict,
    pub context: &'a StageContext<'a>,
    /// The evaluated samples, in order. The first ones are drawn.
    pub samples: Vec<usize>,
}

impl ExampleImages<'_> {
    /// The pictures of the first images; none if the task draws none.
    ///
    /// # Errors
    /// An image changed, or cannot be read and may not be skipped; interrupted.
    pub fn files<T: Task>(&self, task: &T) -> Result<Vec<TaskFile>> {
        let Self { dataset, preprocess, context, .. } = *self;
        let order: Vec<usize> =
            self.samples.iter().copied().take(T::EXAMPLE_BATCHES * EXAMPLES_IN_BATCH).collect();
        if order.is_empty() {
            return Ok(Vec::new());
        }
        let memory = Arc::new(CacheBudget::new(0));
        let images = Images::for_training(Arc::clone(dataset), &preprocess.0, &Augment::default(), 0, memory);
        let images = Arc::new(images);
        let epoch = EpochOrder::sequential(order, EXAMPLES_IN_BATCH);
        let mut pass = Pass::inference(self.state);
        let (mut files, mut fastest) = (Vec::new(), f64::INFINITY);
        for batch in Loader::new(Arc::clone(&images), epoch, context.workers)? {
            context.interrupt.check()?;
            let batch = batch?;
            let (index, rows) = (batch.index, batch.samples.len());
            let (examples, seconds) = self.examples(&images, batch, &mut pass)?;
            fastest = fastest.min(seconds / rows.max(1) as f64);
            files.extend(task.example_files(index, &examples)?);
        }
        let (stage, batch) = (context.stage.to_owned(), EXAMPLES_IN_BATCH as u64);
        context.observer.event(&Event::InferenceTime { stage, batch, seconds_per_image: fastest });
        Ok(files)
    }

    /// The examples of a batch, and the time in seconds that the network took for them.
    fn examples(&self, images: &Images, batch: ImageBatch, pass: &mut Pass) -> Result<(Examples<'_>, f64)> {
        let (rows, height, width, _) = batch.images.dims4()?;
        let picture = |row: usize| -> Result<InputPicture> {
            let numbers = batch.images.get(row)?.flatten_all()?.to_vec1::<f32>()?;
            Ok(InputPicture { size: [width as u32, height as u32], pixels: images.picture(&numbers) })
        };
        let pictures = (0..rows).map(picture).collect::<Result<Vec<_>>>()?;
        let input = Value::constant(to_device(&batch.images, self.context.device)?);
        let begun = (self.context.clock)();
        let outputs = self.model.forward(pass, 0, input)?;
        self.context.device.synchronize()?;
        let seconds = (self.context.clock)() - begun;
        let annotations = Annotations::of_images(self.dataset, &batch.samples, &batch.parts);
        Ok((Examples { pictures, annotations, outputs }, seconds))
    }
}
