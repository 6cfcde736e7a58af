//! Several models asked about the same images: what they say on average.
//!
//! They run one after the other, so that no more than one is in memory, each on the features that its own train stage
//! left; what stays of each image is one number for each class.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::classifier::Classifier;
use super::{Context, Evaluate};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::metrics::MeanProbabilities;
use crate::train::{Scores, Task};

pub(super) fn execute(stage: &Evaluate, dataset: &Arc<Dataset>, context: &Context) -> Result<()> {
    let mut means: BTreeMap<usize, MeanProbabilities> = BTreeMap::new();
    for member in 0..stage.members.len() {
        stage.show(member, dataset, context, &mut |shown| {
            for (row, &sample) in shown.outputs.logits()?.tensor().to_vec2::<f32>()?.iter().zip(shown.samples)
            {
                let class = dataset.samples[sample].label.class();
                let class =
                    class.ok_or_else(|| Error::bug("an ensemble of images without one class each"))?;
                means.entry(sample).or_default().add(row, class as usize);
            }
            // Before the last has spoken nothing is known of the mean.
            Ok(Scores::new())
        })?;
    }
    let task = Classifier::new(&stage.subject().classes);
    let mut meter = task.meter();
    let mut predictions = Vec::new();
    for (sample, mean) in means {
        let sample = &dataset.samples[sample];
        let probabilities = mean.probabilities();
        meter.update(&probabilities, &sample.label.classes(), &[mean.loss()])?;
        predictions.push(stage.prediction(&task, sample, probabilities));
    }
    stage.publish(dataset, &predictions, &task, &meter, context)
}
