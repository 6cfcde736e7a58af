//! Steps of a network: the training loop as stages run it, or the inference pass.

use super::settings::{Mode, NetworkSettings};
use super::synthetic::{FrozenPrefix, Repeated, Stopwatch, images};
use super::timing::{Clock, Timing};
use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::{Model, Pass, State};
use crate::pipeline::Train;
use crate::stage::{Classifier, base_lr, optimizer};
use crate::train::{self, Progress, Setup, Task, Tracker};
use crate::weights;

/// A network with random weights, ready to be timed.
pub struct NetworkBench {
    settings: NetworkSettings,
    model: Model,
    stage: Train,
    table: ParameterTable,
}

impl NetworkBench {
    /// # Errors
    /// Settings that leave nothing to time.
    pub fn new(settings: NetworkSettings) -> Result<Self> {
        let counts = [
            ("batch", settings.batch),
            ("image size", settings.image_size),
            ("number of classes", settings.classes),
            ("number of steps", settings.steps),
        ];
        if let Some((what, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::usage(format!("a {what} of 0 leaves nothing to time")));
        }
        let model = Model::build(&settings.model(), settings.classes);
        let stage = settings.stage()?;
        let table = ParameterTable::resolve(&model.description, &stage)
            .map_err(|_| Error::failed("internal: the rules of the train stage to time do not hold"))?;
        Ok(Self { settings, model, stage, table })
    }

    /// The number of parameters that train.
    pub fn trainable(&self) -> usize {
        match self.settings.mode {
            Mode::Infer => 0,
            Mode::Train | Mode::Frozen => self.table.totals().trainable_parameters,
        }
    }

    /// Runs and times the steps.
    ///
    /// # Errors
    /// Images too small for the architecture, or too few of them for batch normalisation.
    pub fn time(&self, clock: Clock) -> Result<Timing> {
        let images = images(self.settings.batch, self.settings.image_size)?;
        let state = weights::initialize_all(&self.model.description, 0)?;
        let moments = match self.settings.mode {
            Mode::Infer => self.infer(images, &state, clock)?,
            Mode::Train | Mode::Frozen => self.train(images, state, clock)?,
        };
        Timing::between(&moments, self.settings.warmup)
    }

    fn steps(&self) -> usize {
        self.settings.warmup + self.settings.steps
    }

    fn infer(&self, images: candle_core::Tensor, state: &State, clock: Clock) -> Result<Vec<f64>> {
        let mut pass = Pass::inference(state);
        let mut stopwatch = Stopwatch::start(clock);
        for _ in 0..self.steps() {
            let layers = 0..self.model.description.layers.len();
            self.model.forward(&mut pass, layers, Value::constant(images.clone()))?;
            stopwatch.lap();
        }
        Ok(stopwatch.moments)
    }

    fn train(&self, images: candle_core::Tensor, state: State, clock: Clock) -> Result<Vec<f64>> {
        let Self { settings, model, stage, table } = self;
        let classes: Vec<String> = (0..settings.classes).map(|class| class.to_string()).collect();
        let task = Classifier::new(&classes, &stage.loss);
        let layers = table.frozen_prefix(&model.description);
        let feed = Repeated {
            images,
            targets: (0..settings.batch).map(|image| (image % settings.classes) as u32).collect(),
            steps: self.steps(),
            prefix: (layers > 0).then(|| FrozenPrefix { model, state: state.clone(), layers }),
        };
        let setup = Setup {
            model,
            table,
            task: &task,
            feed: &feed,
            first_layer: layers,
            seed: 0,
            epochs: stage.epochs,
            base_lr: base_lr(&stage.optimizer),
            schedule: &stage.schedule,
            monitor: stage.monitor,
        };
        let tracker = Tracker::new(stage.monitor, None);
        let optimizer = optimizer(&stage.optimizer, table)?;
        let mut progress = Progress::start(state, optimizer, tracker, task.meter());
        let mut stopwatch = Stopwatch::start(clock);
        train::fit(&setup, &mut progress, &mut stopwatch)?;
        Ok(stopwatch.moments)
    }
}
