//! Times loading images of a folder: reading, decoding, random crop, flip, normalization.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;

use super::settings::require;
use super::synthetic::Stopwatch;
use super::timing::{Clock, Timing};
use crate::data::{CacheBudget, Dataset, EpochOrder, Images, Loader, Split, Transform, shuffled};
use crate::error::{Error, Result};
use crate::pipeline::{Augment, Data, ImageFolder};

/// The batches to load, and how often they are timed.
#[derive(Clone, Debug)]
pub struct ImagesSettings<'a> {
    /// A folder with one folder of images per class.
    pub root: &'a Path,
    pub batch: usize,
    /// Side length of the square images, in pixels.
    pub image_size: usize,
    /// The number of threads that load images; each loads one image at a time.
    pub workers: usize,
    /// Warmup batches. The loader works two batches ahead, so fewer would make the result too good.
    pub warmup: usize,
    /// The number of timed batches.
    pub steps: usize,
}

/// Times augmented batches, as a train stage with `random_resized_crop` and `horizontal_flip = 0.5` loads them.
/// Images are not cached. If the folder has too few images, they repeat.
///
/// # Errors
/// A folder that is no data set, or an image that cannot be read.
pub fn time_images(settings: &ImagesSettings, clock: Clock) -> Result<Timing> {
    require(&[
        ("batch size", settings.batch),
        ("image size", settings.image_size),
        ("number of batches", settings.steps),
    ])?;
    let internal = |error: serde_json::Error| Error::bug(format!("the timed data set: {error}"));
    let folder: ImageFolder = serde_json::from_value(serde_json::json!({
        "root": "",
        "image_size": settings.image_size,
    }))
    .map_err(internal)?;
    let augment: Augment = serde_json::from_value(serde_json::json!({
        "random_resized_crop": {},
        "horizontal_flip": 0.5,
    }))
    .map_err(internal)?;
    let dataset = Arc::new(Dataset::scan(&folder, settings.root)?);
    let samples = shuffled(&dataset.split(Split::Train), 0, 0);
    let images = Data::ImageFolder(folder).images();
    let transform = Transform::training(&images, None, &augment);
    let images = Arc::new(Images::new(dataset, transform, images.broken, Arc::new(CacheBudget::new(0))));
    let count = (settings.warmup + settings.steps) * settings.batch;
    let epoch = EpochOrder::sequential(samples.into_iter().cycle().take(count).collect(), settings.batch);
    let mut stopwatch = Stopwatch::start(clock, &Device::Cpu);
    for batch in Loader::new(images, epoch, settings.workers)? {
        batch?;
        stopwatch.lap();
    }
    Timing::between(&stopwatch.moments()?, settings.warmup)
}
