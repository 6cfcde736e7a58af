//! Batches of noise and callbacks, for tests of the loop.

use std::cell::Cell;
use std::collections::BTreeSet;

use candle_core::{DType, Tensor};

use super::*;
use crate::error::Result;
use crate::model::Activations;
use crate::ops::testing::normal;
use crate::random::name_hash;
use crate::ranks::BatchShare;

pub const SIDE: usize = 32;
pub const CLASSES: usize = 3;
pub const BATCH: usize = 4;

/// Images of noise by name, two training batches (the second is short) and a validation batch. The prefix, if any, is
/// not run: rows are what the first layer of the loop takes.
pub struct Noise {
    pub shape: Vec<usize>,
    pub layer: usize,
    /// The split that is empty, or none.
    pub unreadable: &'static str,
    pub batch_size: usize,
}

impl Noise {
    pub fn images() -> Self {
        Self { shape: vec![SIDE, SIDE, 3], layer: 0, unreadable: "", batch_size: BATCH }
    }

    pub fn batch(&self, index: usize, samples: &[usize]) -> Result<TrainBatch<Vec<u32>>> {
        let shape = [&[1], &self.shape[..]].concat();
        let rows: Vec<Tensor> =
            samples.iter().map(|sample| normal(&format!("image {sample}"), &shape)).collect();
        Ok(TrainBatch {
            index,
            input: Activations::constants([Tensor::cat(&rows, 0)?.to_dtype(DType::F32)?]),
            layer: self.layer,
            targets: samples.iter().map(|sample| (sample % CLASSES) as u32).collect(),
            samples: samples.to_vec(),
            streams: samples.iter().map(|sample| name_hash(&sample.to_string())).collect(),
            teacher: None,
        })
    }
}

impl BatchSource<Vec<u32>> for Noise {
    fn batches_per_epoch(&self) -> usize {
        6usize.div_ceil(self.batch_size)
    }

    fn train(&self, epoch: u32, share: BatchShare) -> Result<Batches<'_, Vec<u32>>> {
        let order: Vec<usize> = (0..6).map(|place| (place * 5 + epoch as usize) % 6).collect();
        let batches: Vec<_> =
            order.chunks(self.batch_size).enumerate().map(|(i, part)| self.batch(i, part)).collect();
        let kept = move |index: &usize| self.unreadable != "training" && share.contains(*index);
        let batches = batches.into_iter().enumerate().filter(move |(index, _)| kept(index));
        Ok(Box::new(batches.map(|(_, batch)| batch)))
    }

    fn validation(&self, _: u32, share: BatchShare) -> Option<Result<Batches<'_, Vec<u32>>>> {
        let count = usize::from(self.unreadable != "validation");
        let own = (0..count).filter(move |index| share.contains(*index));
        Some(Ok(Box::new(own.map(|index| self.batch(index, &[6, 7, 8])))))
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::from(["animals/torn.png".to_owned()])
    }
}

/// Keeps every checkpoint that is due, and stops after some steps.
#[derive(Default)]
pub struct Notes {
    pub always_due: bool,
    pub stop_after: Option<u64>,
    /// The question whether to stop that is answered with yes, of all that are asked.
    pub stop_at: Option<u64>,
    pub asked: Cell<u64>,
    pub steps: u64,
    pub rows: Vec<u32>,
    pub checkpoints: Vec<TrainCheckpoint>,
    /// Of each batch.
    pub parts: Vec<Vec<LossTerm>>,
}

impl TrainCallbacks for Notes {
    fn step(&mut self, step: &StepReport) {
        self.steps += 1;
        self.parts.push(step.parts.to_vec());
    }

    fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.rows.push(row.epoch);
        Ok(())
    }

    fn describe_samples(&self, samples: &[usize]) -> String {
        format!("images {samples:?}")
    }

    fn checkpoint_due(&self) -> bool {
        self.always_due
    }

    fn interrupted(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.stop_after == Some(self.steps) || self.stop_at == Some(self.asked.get())
    }

    fn save(&mut self, checkpoint: &TrainCheckpoint, _: u32, _: u64) -> Result<()> {
        let TrainCheckpoint { tensors, position } = checkpoint;
        self.checkpoints.push(TrainCheckpoint { tensors: tensors.clone(), position: position.clone() });
        Ok(())
    }
}
