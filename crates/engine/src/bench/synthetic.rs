//! Synthetic images as a batch source, and a stopwatch that records when each step ends.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};

use super::timing::Clock;
use crate::error::{Error, Result};
use crate::model::{Activations, Model, Pass, StateDict};
use crate::random::{Purpose, Stream};
use crate::ranks::BatchShare;
use crate::train::{BatchSource, Batches, EpochRow, StepReport, TrainBatch, TrainCallbacks, TrainCheckpoint};

/// Noise with the range of normalized images: [batch, side, side, channels].
pub fn images(batch: usize, side: usize, channels: usize) -> Result<Tensor> {
    let mut stream = Stream::new(0, Purpose::Augment, 0, 0);
    let numbers: Vec<f32> =
        (0..batch * side * side * channels).map(|_| 4.0 * stream.uniform() - 2.0).collect();
    Ok(Tensor::from_vec(numbers, (batch, side, side, channels), &Device::Cpu)?)
}

/// The layers that run as inference before those of the training loop.
pub struct SyntheticPrefix<'a> {
    pub model: &'a Model,
    pub state: StateDict,
    pub layers: usize,
}

/// The same images in every step.
pub struct RepeatedBatches<'a, Targets> {
    /// Images, or what layers have made of them.
    pub input: Activations,
    /// What each shows.
    pub targets: Targets,
    pub steps: usize,
    /// The first layer that the training loop runs.
    pub layer: usize,
    /// The layers below, run on each batch of images; `None` if the batch is already their output, or if the
    /// loop runs all layers. Without them no weights need to be held.
    pub prefix: Option<SyntheticPrefix<'a>>,
}

impl<Targets: Clone> RepeatedBatches<'_, Targets> {
    fn batch(&self, pass: &mut Option<Pass>, index: usize) -> Result<TrainBatch<Targets>> {
        let input = match (&self.prefix, pass) {
            (Some(prefix), Some(pass)) => {
                prefix.model.forward_layers(pass, 0..prefix.layers, self.input.clone())?
            }
            _ => self.input.clone(),
        };
        let images = self.input.images()?;
        Ok(TrainBatch {
            index,
            input,
            layer: self.layer,
            targets: self.targets.clone(),
            samples: (0..images).collect(),
            streams: (0..images as u64).collect(),
            teacher: None,
        })
    }
}

impl<Targets: Clone> BatchSource<Targets> for RepeatedBatches<'_, Targets> {
    fn batches_per_epoch(&self) -> usize {
        self.steps
    }

    fn train(&self, _: u32, share: BatchShare) -> Result<Batches<'_, Targets>> {
        let mut pass = self.prefix.as_ref().map(|prefix| Pass::inference(&prefix.state));
        let own = (share.start()..self.steps).filter(move |index| share.contains(*index));
        Ok(Box::new(own.map(move |index| self.batch(&mut pass, index))))
    }

    fn validation(&self, _: u32, _: BatchShare) -> Option<Result<Batches<'_, Targets>>> {
        None
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// Records when steps end: when the device has finished, not when the last kernel was launched.
pub struct Stopwatch<'a> {
    clock: Clock<'a>,
    device: Device,
    seconds: Vec<f64>,
    device_failed: Option<Error>,
}

impl<'a> Stopwatch<'a> {
    /// The first recorded moment is now.
    pub fn start(clock: Clock<'a>, device: &Device) -> Self {
        let mut stopwatch = Self { clock, device: device.clone(), seconds: Vec::new(), device_failed: None };
        stopwatch.lap();
        stopwatch
    }

    pub fn lap(&mut self) {
        if let Err(error) = self.device.synchronize() {
            self.device_failed.get_or_insert(error.into());
        }
        self.seconds.push((self.clock)());
    }

    /// The moment of the start, and one per step.
    ///
    /// # Errors
    /// The device failed.
    pub fn moments(self) -> Result<Vec<f64>> {
        self.device_failed.map_or(Ok(self.seconds), Err)
    }
}

impl TrainCallbacks for Stopwatch<'_> {
    fn step(&mut self, _: &StepReport) {
        self.lap();
    }

    fn epoch(&mut self, _: &EpochRow) -> Result<()> {
        Ok(())
    }

    fn describe_samples(&self, _: &[usize]) -> String {
        "synthetic images".to_owned()
    }

    fn checkpoint_due(&self) -> bool {
        false
    }

    fn interrupted(&self) -> bool {
        false
    }

    fn save(&mut self, _: &TrainCheckpoint, _: u32, _: u64) -> Result<()> {
        Err(Error::bug("a timing keeps no checkpoints"))
    }
}
