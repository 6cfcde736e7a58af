//! Steps of a network: the training loop as stages run it, or the inference pass.

use candle_core::{DType, Device, Tensor};

use super::settings::{Mode, NetworkSettings};
use super::synthetic::{RepeatedBatches, Stopwatch, SyntheticPrefix, images};
use super::timing::{Clock, Timing};
use crate::autograd::Value;
use crate::device::{exhausted_gpu, gigabytes, to_device};
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::{Activations, Model, Pass, StateDict};
use crate::pipeline::{Precision, RGB_CHANNELS, Train};
use crate::ranks::Team;
use crate::task::{Task, TaskSpec, TaskTraining, TaskVisitor};
use crate::train::{self, Optimizer, TrainContext, TrainProgress};
use crate::weights;

/// The counted work of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepCounts {
    /// The multiply-adds of all convolutions, linear layers and attention.
    pub multiply_adds: u64,
    /// The activations that convolutions, linear layers and normalizations read and write; see
    /// [`Pass::activations_moved`].
    pub bytes: u64,
}

/// A network with random weights, ready for timing.
pub struct NetworkBench {
    settings: NetworkSettings,
    device: Device,
    model: Model,
    stage: Train,
    table: ParameterTable,
}

impl NetworkBench {
    /// # Errors
    /// Settings without a step to time.
    pub fn new(settings: NetworkSettings, device: &Device) -> Result<Self> {
        settings.check()?;
        if settings.mode == Mode::Train && settings.arch.is_encoder() {
            return Err(Error::usage(
                "a feature extractor is always frozen, so `--mode train` does not apply",
            )
            .hint("use `--mode frozen`, in which the head trains, or `--mode infer`"));
        }
        let model = Model::build_for(&settings.model(), settings.classes, settings.image_size);
        let stage = settings.stage()?;
        let table = ParameterTable::resolve(&model.description, &stage)
            .map_err(|_| Error::bug("the rules of the timed train stage are not valid"))?;
        Ok(Self { settings, device: device.clone(), model, stage, table })
    }

    /// The number of trainable parameters.
    pub fn trainable(&self) -> usize {
        match self.settings.mode {
            Mode::Infer => 0,
            Mode::Train | Mode::Frozen => self.table.totals().trainable_parameters,
        }
    }

    /// Runs and times the steps.
    ///
    /// # Errors
    /// Images too small for the architecture, too few images for batch normalization, or a GPU without enough
    /// memory.
    pub fn time(&self, clock: Clock) -> Result<Timing> {
        self.timed(clock).map_err(|error| match exhausted_gpu(&error, &self.device) {
            Some(gauge) => Error::out_of_memory(format!(
                "the GPU's memory is full: a step on {} images needs more than the {} that are free",
                self.settings.batch,
                gigabytes(gauge.available()),
            ))
            .hint("use a smaller `--batch` or `--image-size`"),
            None => error,
        })
    }

    fn timed(&self, clock: Clock) -> Result<Timing> {
        let images =
            to_device(&images(self.settings.batch, self.settings.image_size, RGB_CHANNELS)?, &self.device)?;
        let state = weights::initialize_all(&self.model.description, 0)?.to_device(&self.device)?;
        let moments = match self.settings.mode {
            Mode::Infer => self.infer(images, &state, clock)?,
            Mode::Train | Mode::Frozen => self.train(images, state, clock)?,
        };
        Timing::between(&moments, self.settings.warmup)
    }

    /// Counts the work of one step, forward and backward.
    ///
    /// It runs two images through the network with all weights zero.
    pub fn work(&self) -> Result<StepCounts> {
        const IMAGES: usize = 2;
        let Self { settings, model, table, .. } = self;
        let tensors = model.description.tensors.iter();
        let zeros = tensors.map(|spec| Ok(Tensor::zeros(spec.shape.as_slice(), DType::F32, &Device::Cpu)?));
        let state = StateDict { tensors: zeros.collect::<Result<_>>()? };
        let layers = model.description.layers.len();
        let trained = match settings.mode {
            Mode::Infer => layers,
            Mode::Train | Mode::Frozen => table.first().frozen_prefix(&model.description),
        };
        let mut prefix = Pass::inference(&state);
        let mut rest =
            Pass::training(&state, &table.first().trainable, &table.first().norms, 0, 0, &[0; IMAGES]);
        let images = Value::constant(images(IMAGES, settings.image_size, RGB_CHANNELS)?);
        let features = model.forward_layers(&mut prefix, 0..trained, images)?;
        model.forward_layers(&mut rest, trained..layers, features)?;
        let of_batch = |counted: u64| counted / IMAGES as u64 * settings.batch as u64;
        // Layers below the trainable part run in f32.
        let moved = 4 * prefix.activations_moved() + bytes(settings.precision) * rest.activations_moved();
        Ok(StepCounts {
            multiply_adds: of_batch(prefix.multiply_adds() + rest.multiply_adds()),
            bytes: of_batch(moved),
        })
    }

    fn steps(&self) -> usize {
        self.settings.warmup + self.settings.steps
    }

    fn infer(&self, images: Tensor, state: &StateDict, clock: Clock) -> Result<Vec<f64>> {
        let mut pass = Pass::inference(state);
        let mut stopwatch = Stopwatch::start(clock, &self.device);
        for _ in 0..self.steps() {
            let outputs = self.model.forward(&mut pass, 0, Value::constant(images.clone()))?;
            // Reads the scores, as real callers do.
            for tensor in outputs.tensors() {
                tensor.to_device(&Device::Cpu)?;
            }
            stopwatch.lap();
        }
        stopwatch.moments()
    }

    fn train(&self, images: Tensor, state: StateDict, clock: Clock) -> Result<Vec<f64>> {
        let settings = &self.settings;
        let classes: Vec<String> = (0..settings.classes).map(|class| class.to_string()).collect();
        let training = Some(TaskTraining { settings: &self.stage, dataset: None });
        let task =
            TaskSpec { kind: settings.task(), classes: &classes, head: &settings.model().head, training };
        task.visit(Steps { bench: self, images, state, clock })
    }

    fn steps_of<T: Task>(
        &self,
        task: &T,
        images: Tensor,
        state: StateDict,
        clock: Clock,
    ) -> Result<Vec<f64>> {
        let Self { settings, model, stage, table, .. } = self;
        let layers = table.first().frozen_prefix(&model.description);
        let batch_source = RepeatedBatches {
            input: Activations::constants([images]),
            targets: task.synthetic_targets(settings.batch),
            steps: self.steps(),
            layer: layers,
            prefix: (layers > 0).then(|| SyntheticPrefix { model, state: state.clone(), layers }),
        };
        let team = Team::alone();
        let context =
            TrainContext { model, table, task, batch_source: &batch_source, seed: 0, settings: stage, team };
        let optimizer = Optimizer::for_table(&stage.optimizer, table, context.steps_per_epoch())?;
        let mut progress = TrainProgress::start(&context, state, optimizer);
        let mut stopwatch = Stopwatch::start(clock, &self.device);
        train::fit(&context, &mut progress, &mut stopwatch)?;
        stopwatch.moments()
    }
}

/// The training of a network, whichever task it is for.
struct Steps<'a> {
    bench: &'a NetworkBench,
    images: Tensor,
    state: StateDict,
    clock: Clock<'a>,
}

impl TaskVisitor for Steps<'_> {
    type Output = Result<Vec<f64>>;

    fn visit<T: Task>(self, task: T) -> Self::Output {
        self.bench.steps_of(&task, self.images, self.state, self.clock)
    }
}

/// The bytes of one activation.
fn bytes(precision: Precision) -> u64 {
    match precision {
        Precision::Bf16 | Precision::F16 => 2,
        Precision::F32 | Precision::Tf32 => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Arch;

    fn work(arch: Arch, mode: Mode, batch: usize) -> StepCounts {
        let settings = NetworkSettings {
            arch,
            mode,
            precision: Precision::F32,
            batch,
            image_size: 224,
            classes: 1000,
            warmup: 0,
            steps: 1,
        };
        NetworkBench::new(settings, &Device::Cpu).unwrap().work().unwrap()
    }

    fn giga(arch: Arch, mode: Mode, batch: usize) -> f64 {
        work(arch, mode, batch).multiply_adds as f64 / 1e9
    }

    /// He et al. 2016 say 1.8 and 3.8 G; torchvision, whose bottlenecks stride later, says 1.81 and 4.09 G.
    #[test]
    fn multiply_adds_are_the_published_ones() {
        assert_eq!(format!("{:.2}", giga(Arch::ResNet18, Mode::Infer, 1)), "1.81");
        assert_eq!(format!("{:.2}", giga(Arch::ResNet50, Mode::Infer, 1)), "4.09");
        assert_eq!(format!("{:.2}", giga(Arch::EfficientNetLite0, Mode::Infer, 1)), "0.39");
    }

    /// The gradients of each weight and of each input but the image cost as much again. A frozen backbone needs
    /// no gradient.
    #[test]
    fn a_step_counts_the_gradients_that_are_computed() {
        let (forward, stem, head) = (giga(Arch::ResNet18, Mode::Infer, 1), 0.118_013_952, 0.000_512);
        assert!((giga(Arch::ResNet18, Mode::Train, 2) - 2.0 * (3.0 * forward - stem)).abs() < 1e-8);
        assert!((giga(Arch::ResNet18, Mode::Frozen, 1) - (forward + head)).abs() < 1e-8);
    }

    /// Radosavovic et al., "Designing Network Design Spaces" (CVPR 2020): ResNet-50's convolutions output 11.1
    /// million activations per image and read about as many; normalization is folded into them.
    #[test]
    fn bytes_are_those_of_what_layers_take_in_and_put_out() {
        let forward = work(Arch::ResNet50, Mode::Infer, 1).bytes as f64 / 4e6;
        assert!((20.0..24.0).contains(&forward), "{forward}");
        let train = work(Arch::ResNet50, Mode::Train, 2).bytes as f64 / 8e6;
        assert!(train > 3.0 * forward + 8.0 * 11.0 - 1.0 && train < 3.0 * forward + 8.0 * 11.3, "{train}");
    }
}
