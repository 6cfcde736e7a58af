//! A source of noise batches, and a host that records events.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::model::{Activations, LOGITS, Outputs};
use crate::ops::testing::normal;
use crate::random::name_hash;
use crate::train::{
    BatchSource, Batches, EpochRow, LossTerm, StepReport, TrainBatch, TrainCallbacks, TrainCheckpoint,
};
use defrost_ranks::ranks::BatchShare;

pub const CLASSES: usize = 3;
/// The features of EfficientNet-Lite0 at the input of its head.
const FEATURES: usize = 1280;

/// Features of six noise images, after all frozen layers.
pub struct Noise<Targets> {
    /// The layer whose input they are.
    pub layer: usize,
    pub batch_size: usize,
    pub targets: fn(&[usize]) -> Targets,
    /// Whether batches include a teacher's scores.
    pub taught: bool,
}

/// A row of random numbers, seeded by name.
fn row(name: String, numbers: usize) -> Tensor {
    normal(&name, &[1, numbers]).to_dtype(DType::F32).unwrap()
}

impl<Targets> Noise<Targets> {
    fn batch(&self, index: usize, samples: &[usize]) -> Result<TrainBatch<Targets>> {
        let rows = |what: &str, numbers: usize| {
            let rows: Vec<Tensor> =
                samples.iter().map(|sample| row(format!("{what} {sample}"), numbers)).collect();
            Tensor::cat(&rows, 0)
        };
        let teacher = match self.taught {
            true => Some(Outputs::new(&[LOGITS], Activations::constants([rows("teacher", CLASSES)?]))?),
            false => None,
        };
        Ok(TrainBatch {
            index,
            input: Activations::constants([rows("image", FEATURES)?]),
            layer: self.layer,
            targets: (self.targets)(samples),
            samples: samples.to_vec(),
            streams: samples.iter().map(|sample| name_hash(&sample.to_string())).collect(),
            teacher,
        })
    }
}

impl<Targets> BatchSource<Targets> for Noise<Targets> {
    fn batches_per_epoch(&self) -> usize {
        6usize.div_ceil(self.batch_size)
    }

    fn train(&self, epoch: u32, share: BatchShare) -> Result<Batches<'_, Targets>> {
        let order: Vec<usize> = (0..6).map(|place| (place * 5 + epoch as usize) % 6).collect();
        let batches: Vec<_> =
            order.chunks(self.batch_size).enumerate().map(|(i, part)| self.batch(i, part)).collect();
        let own = batches.into_iter().enumerate().filter(move |(index, _)| share.contains(*index));
        Ok(Box::new(own.map(|(_, batch)| batch)))
    }

    fn validation(&self, _: u32, _: BatchShare) -> Option<Result<Batches<'_, Targets>>> {
        None
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// Keeps the last checkpoint, and stops after some batches.
#[derive(Default)]
pub struct Notes {
    pub stop_after: Option<u64>,
    pub steps: u64,
    pub checkpoint: Option<TrainCheckpoint>,
    /// The terms of each batch's loss.
    pub parts: Vec<Vec<LossTerm>>,
}

impl TrainCallbacks for Notes {
    fn step(&mut self, step: &StepReport) {
        self.steps += 1;
        self.parts.push(step.parts.to_vec());
    }

    fn epoch(&mut self, _: &EpochRow) -> Result<()> {
        Ok(())
    }

    fn describe_samples(&self, samples: &[usize]) -> String {
        format!("images {samples:?}")
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    fn interrupted(&self) -> bool {
        self.stop_after == Some(self.steps)
    }

    fn save(&mut self, checkpoint: &TrainCheckpoint, _: u32, _: u64) -> Result<()> {
        let TrainCheckpoint { tensors, position } = checkpoint;
        self.checkpoint = Some(TrainCheckpoint { tensors: tensors.clone(), position: position.clone() });
        Ok(())
    }
}
