//! What a sampler makes of the training images, in words.

use super::TrainStage;
use crate::data::{Dataset, EpochSampler};
use crate::pipeline::Sampler;

impl TrainStage {
    /// What an epoch shows of the training images; `None` if it shows each once.
    pub fn sampling(&self, dataset: &Dataset) -> Option<String> {
        let sampler = EpochSampler::new(dataset, &self.settings.sampler, self.seed);
        let (images, classes) = (sampler.len(), sampler.class_sizes().count());
        match &self.settings.sampler {
            Sampler::Random(_) => None,
            Sampler::Balanced(_) => {
                let share = images as f64 / classes.max(1) as f64;
                Some(format!(
                    "an epoch shows {images} images, {share:.1} of each of {classes} classes on average"
                ))
            }
            Sampler::PK(batch) => {
                let small = sampler.class_sizes().filter(|size| *size < batch.images).count();
                let repeated = (small > 0).then(|| {
                    let classes =
                        if small == 1 { "1 class has".to_owned() } else { format!("{small} classes have") };
                    format!(
                        "; {classes} fewer than {} training images, which repeat in a batch",
                        batch.images
                    )
                });
                Some(format!(
                    "an epoch shows {images} images, in batches of {} classes with {} images each{}",
                    batch.classes,
                    batch.images,
                    repeated.unwrap_or_default()
                ))
            }
        }
    }
}
