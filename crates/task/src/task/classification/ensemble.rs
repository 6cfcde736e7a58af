//! Several classifiers evaluated together: the mean of their class probabilities.
//!
//! They run one after the other, so that only one is in memory. For each image, one number per class is kept.

use std::collections::BTreeMap;

use super::Classification;
use crate::autograd::Tape;
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::metrics::MeanProbabilities;
use crate::model::Outputs;
use crate::task::interface::rows;
use crate::task::{Annotations, EvaluatedImages, Evaluation, Evaluator};
use crate::train::{Scores, TrainTask};

pub struct AveragedModels {
    task: Classification,
    images: EvaluatedImages,
    /// By the position of the sample.
    means: BTreeMap<usize, MeanProbabilities>,
}

impl AveragedModels {
    pub fn new(task: Classification, images: EvaluatedImages) -> Self {
        Self { task, images, means: BTreeMap::new() }
    }
}

impl Evaluator for AveragedModels {
    fn update(
        &mut self,
        _: &mut Tape,
        outputs: &Outputs,
        annotations: &Annotations,
        samples: &[usize],
    ) -> Result<Scores> {
        let rows = rows(outputs.logits()?.tensor())?;
        for ((row, sample), shown) in rows.iter().zip(samples).zip(&annotations.samples) {
            self.means.entry(*sample).or_default().add(row, class_of(shown)? as usize);
        }
        // The mean is known only after the last model has run.
        Ok(Scores::new())
    }

    fn finish(self: Box<Self>, stage: &str) -> Result<Evaluation> {
        let Self { task, images, means } = *self;
        let mut meter = task.meter();
        let mut predictions = Vec::new();
        for (sample, mean) in means {
            let probabilities = mean.probabilities();
            if !images.is_fitted_on(sample) {
                let class = class_of(&images.dataset.samples[sample])?;
                meter.update(&probabilities, &[class], &[mean.loss()])?;
            }
            predictions.push((sample, probabilities));
        }
        Evaluation::of(&task, &meter, predictions, &images, stage)
    }
}

fn class_of(sample: &Sample) -> Result<u32> {
    sample.label.class().ok_or_else(|| Error::bug(format!("`{}` has no class", sample.path)))
}
