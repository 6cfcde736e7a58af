//! Measures parts of a stage's work: steps above a frozen prefix, inference of some layers, loading of images.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::synthetic::{RepeatedBatches, Stopwatch, images};
use super::timing::Timing;
use crate::autograd::Value;
use crate::data::{CacheBudget, Dataset, EpochOrder, Images, Loader};
use crate::device::to_device;
use crate::error::{Error, Result};
use crate::freeze::{FreezePhase, ParameterTable};
use crate::model::{Activations, Model, Pass, StateDict};
use crate::pipeline::{Augment, ImageSettings, Train};
use crate::ranks::Team;
use crate::stage::ModelSpec;
use crate::task::{Task, TaskTraining, TaskVisitor};
use crate::train::{self, Optimizer, TrainContext, TrainProgress};
use crate::weights;

/// A clock, and a count of the memory that tensors hold.
pub trait ResourceMeter: Sync {
    /// Seconds since a fixed moment.
    fn seconds(&self) -> f64;

    /// The bytes in use that [`ResourceMeter::peak`] counts from. Resets the peak.
    fn watch(&self) -> u64;

    /// The peak of bytes in use since [`ResourceMeter::watch`].
    fn peak(&self) -> u64;
}

/// A part of a stage's work on one batch.
#[derive(Clone, Copy)]
pub enum Probe<'a> {
    /// Inference through some layers.
    Pass { from: usize, to: usize },
    /// An optimizer step of a phase whose first layers are frozen.
    Step { from: usize, stage: &'a Train, table: &'a ParameterTable, phase: &'a FreezePhase },
}

/// The measured cost of a part for one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeSample {
    pub images: usize,
    pub seconds: f64,
    /// The peak memory beyond the weights and the batch.
    pub bytes: u64,
    /// The number of output values per image.
    pub outputs: usize,
}

/// A network with random weights, on synthetic images.
pub struct NetworkProbes {
    model_spec: ModelSpec,
    model: Model,
    image_size: usize,
    device: Device,
    state: StateDict,
}

impl NetworkProbes {
    /// # Errors
    /// Not enough memory for the weights.
    pub fn new(model_spec: &ModelSpec, image_size: usize, device: &Device) -> Result<Self> {
        let (model_spec, model) = (model_spec.clone(), model_spec.build());
        let state = weights::initialize_all(&model.description, 0)?.to_device(device)?;
        Ok(Self { model_spec, model, image_size, device: device.clone(), state })
    }

    /// Runs a part for some rounds (at least two) on a batch of `images` images. The first round is warmup; of
    /// the others the fastest counts, because other load on the machine only slows a round down.
    ///
    /// # Errors
    /// Images too small for the architecture.
    pub fn sample(
        &self,
        piece: Probe,
        images: usize,
        rounds: usize,
        meter: &dyn ResourceMeter,
    ) -> Result<ProbeSample> {
        let (Probe::Pass { from, .. } | Probe::Step { from, .. }) = piece;
        let views = if matches!(piece, Probe::Step { .. }) { self.model_spec.task.views() } else { 1 };
        let input = self.input_of_layer(from, images * views)?;
        let before = meter.watch();
        let (seconds, outputs) = match piece {
            Probe::Pass { from, to } => self.pass(from..to, input, rounds, meter)?,
            Probe::Step { from, stage, table, phase } => {
                (self.step(from, stage, table.during(phase), input, rounds, meter)?, 0)
            }
        };
        Ok(ProbeSample { images, seconds, bytes: meter.peak().saturating_sub(before), outputs })
    }

    /// The input of a layer.
    fn input_of_layer(&self, layer: usize, count: usize) -> Result<Activations> {
        let images = Value::constant(to_device(
            &images(count, self.image_size, self.model_spec.channels)?,
            &self.device,
        )?);
        self.model.forward_layers(&mut Pass::inference(&self.state), 0..layer, images)
    }

    fn pass(
        &self,
        layers: Range<usize>,
        input: Activations,
        rounds: usize,
        meter: &dyn ResourceMeter,
    ) -> Result<(f64, usize)> {
        let mut pass = Pass::inference(&self.state);
        let clock = || meter.seconds();
        let mut stopwatch = Stopwatch::start(&clock, &self.device);
        let mut outputs = 0;
        for _ in 0..rounds {
            let output = self.model.forward_layers(&mut pass, layers.clone(), input.clone())?;
            outputs = output.tensors().map(Tensor::elem_count).sum();
            stopwatch.lap();
        }
        Ok((Timing::between(&stopwatch.moments()?, 1)?.min(), outputs / input.images()?.max(1)))
    }

    fn step(
        &self,
        from: usize,
        stage: &Train,
        mut table: ParameterTable,
        input: Activations,
        rounds: usize,
        meter: &dyn ResourceMeter,
    ) -> Result<f64> {
        // A tiny learning rate keeps random weights stable; the rate does not affect the time.
        table.rows.iter_mut().for_each(|row| row.lr = row.lr.map(|_| 1e-9));
        let training = TaskTraining { settings: stage, dataset: None };
        let step = Step { pieces: self, from, stage, table, input, rounds, meter };
        self.model_spec.task(Some(training)).visit(step)
    }

    fn steps<T: Task>(
        &self,
        task: &T,
        batch_source: &RepeatedBatches<'_, T::Targets>,
        stage: &Train,
        table: &ParameterTable,
        meter: &dyn ResourceMeter,
    ) -> Result<f64> {
        let context = TrainContext {
            model: &self.model,
            table,
            task,
            batch_source,
            seed: 0,
            settings: &Train { epochs: 1, ..stage.clone() },
            team: Team::alone(),
        };
        let optimizer = Optimizer::for_table(&stage.optimizer, table, context.steps_per_epoch())?;
        let mut progress = TrainProgress::start(&context, self.state.clone(), optimizer);
        let clock = || meter.seconds();
        let mut stopwatch = Stopwatch::start(&clock, &self.device);
        train::fit(&context, &mut progress, &mut stopwatch)?;
        Ok(Timing::between(&stopwatch.moments()?, 1)?.min())
    }
}

/// Steps of a stage, whichever task it has.
struct Step<'a> {
    pieces: &'a NetworkProbes,
    from: usize,
    stage: &'a Train,
    table: ParameterTable,
    input: Activations,
    rounds: usize,
    meter: &'a dyn ResourceMeter,
}

impl TaskVisitor for Step<'_> {
    type Output = Result<f64>;

    fn visit<T: Task>(self, task: T) -> Result<f64> {
        let Self { pieces, from, stage, table, input, rounds, meter } = self;
        let targets = task.synthetic_targets(input.images()?);
        let batch_source = RepeatedBatches { input, targets, steps: rounds, layer: from, prefix: None };
        pieces.steps(&task, &batch_source, stage, &table, meter)
    }
}

/// The loading of images into batches.
pub struct LoadProbe<'a> {
    pub dataset: &'a Arc<Dataset>,
    pub images: &'a ImageSettings,
    pub augment: &'a Augment,
    pub workers: usize,
    /// Whether decoded images are cached.
    pub kept: bool,
    /// Whether images are composed of several, as in all epochs of a stage but the last ones.
    pub composed: bool,
}

impl LoadProbe<'_> {
    /// Seconds per image with all workers busy: the first time, and from the cache. Images are composed of these samples
    /// only, so that each of them is decoded once.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn seconds(&self, samples: &[usize], meter: &dyn ResourceMeter) -> Result<[f64; 2]> {
        let memory = Arc::new(CacheBudget::new(if self.kept { usize::MAX } else { 0 }));
        // All epochs are before the closing ones, or after the end.
        let epochs = if self.composed { u32::MAX } else { 0 };
        let (parts, dataset) = (samples.to_vec(), Arc::clone(self.dataset));
        let images = Images::composed_of(parts, dataset, self.images, self.augment, epochs, memory);
        let images = Arc::new(images);
        let mut seconds = [0.0; 2];
        for (epoch, seconds) in seconds.iter_mut().enumerate() {
            let epoch =
                EpochOrder { epoch: epoch as u32, ..EpochOrder::sequential(samples.to_vec(), samples.len()) };
            let begun = meter.seconds();
            for batch in Loader::new(Arc::clone(&images), epoch, self.workers)? {
                batch?;
            }
            *seconds = (meter.seconds() - begun) / samples.len().max(1) as f64;
        }
        if !seconds.iter().all(|seconds| seconds.is_finite()) {
            return Err(Error::bug("a clock that does not tell the time"));
        }
        Ok(seconds)
    }
}
