//! The training loop.

use candle_core::Tensor;

use super::checkpoint::{Checkpoint, Progress, Row};
use super::task::{Batch, Feed, Scores, Task};
use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::model::{Model, Pass, State};
use crate::pipeline::{Monitor, Schedule};

/// Everything that stays the same while a stage trains.
pub struct Setup<'a, T: Task> {
    pub model: &'a Model,
    pub table: &'a ParameterTable,
    pub task: &'a T,
    pub feed: &'a dyn Feed,
    /// The first layer the loop runs; those before it are the frozen prefix, already behind the feed's batches.
    pub first_layer: usize,
    pub seed: u64,
    pub epochs: u32,
    /// The optimizer's learning rate, before the schedule.
    pub base_lr: f64,
    pub schedule: &'a Schedule,
    pub monitor: Monitor,
}

/// Who watches the loop and keeps its checkpoints.
pub trait Host {
    fn step(&mut self, step: &Step);
    fn epoch(&mut self, row: &Row) -> Result<()>;
    /// Names the samples of a batch, for an error about it.
    fn describe(&self, samples: &[usize]) -> String;
    fn checkpoint_due(&self) -> bool;
    fn interrupted(&self) -> bool;
    /// Keeps a checkpoint taken after `step` optimizer steps, `epoch` epochs being complete.
    fn save(&mut self, checkpoint: &Checkpoint, epoch: u32, step: u64) -> Result<()>;
}

/// What one optimizer step did.
pub struct Step<'a> {
    pub epoch: u32,
    /// Steps done in this epoch, and in a whole one.
    pub done: usize,
    pub of: usize,
    pub images: usize,
    /// Running scores of the epoch so far.
    pub scores: &'a Scores,
}

/// Trains to the end, or to the next checkpoint if interrupted. `progress` may come from a checkpoint: the result is
/// the same bytes either way.
pub fn fit<T: Task>(setup: &Setup<T>, progress: &mut Progress<T::Meter>, host: &mut dyn Host) -> Result<()> {
    let steps = setup.feed.steps_per_epoch();
    while progress.epoch < setup.epochs && !progress.tracker.should_stop() {
        for batch in setup.feed.train(progress.epoch, progress.batch)? {
            let batch = batch?;
            train_step(setup, progress, &batch, host)?;
            progress.batch = batch.index + 1;
            if host.interrupted() {
                save(setup, progress, host)?;
                return Err(Error::interrupted("stopped on request after a checkpoint")
                    .hint("run the same command again to go on from there"));
            }
            if progress.batch < steps && host.checkpoint_due() {
                save(setup, progress, host)?;
            }
        }
        if progress.step == 0 {
            return Err(unreadable("training"));
        }
        close_epoch(setup, progress, host)?;
        if host.checkpoint_due() {
            save(setup, progress, host)?;
        }
    }
    progress.broken.extend(setup.feed.broken());
    require_finite(setup, &progress.state)
}

fn save<T: Task>(setup: &Setup<T>, progress: &mut Progress<T::Meter>, host: &mut dyn Host) -> Result<()> {
    progress.broken.extend(setup.feed.broken());
    let checkpoint = progress.checkpoint(&setup.model.description, setup.table)?;
    host.save(&checkpoint, progress.epoch, progress.step)
}

fn train_step<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
    batch: &Batch,
    host: &mut dyn Host,
) -> Result<()> {
    let steps = setup.feed.steps_per_epoch();
    let factor = lr_factor(setup, progress, progress.step);
    let table = setup.table;
    let mut pass = Pass::training(
        &progress.state,
        &table.trainable,
        &table.norms,
        setup.seed,
        progress.epoch,
        &batch.streams,
    );
    let layers = setup.first_layer..setup.model.description.layers.len();
    let output = setup.model.forward(&mut pass, layers, Value::constant(batch.input.clone()))?;
    let loss = setup.task.loss(pass.tape(), &output, &batch.targets, &mut progress.meter)?;
    drop(output);

    let value = loss.tensor().to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
    if !value.is_finite() {
        return Err(Error::failed(format!(
            "the loss is {value} in epoch {}, step {}, at a learning rate of {:e}, on {}",
            progress.epoch + 1,
            batch.index + 1,
            setup.base_lr * factor,
            host.describe(&batch.samples),
        ))
        .hint("lower the learning rate or add a warmup; the last checkpoint before this step is kept"));
    }
    let (gradients, running_statistics) = pass.backward(&loss)?;
    drop(loss);
    if progress.step == 0 {
        require_gradients(setup.model, &gradients)?;
    }
    progress.optimizer.step(&mut progress.state.tensors, &gradients, factor)?;
    for (id, tensor) in running_statistics {
        progress.state.tensors[id] = tensor;
    }
    progress.step += 1;
    host.step(&Step {
        epoch: progress.epoch,
        done: batch.index + 1,
        of: steps,
        images: batch.samples.len(),
        scores: &setup.task.running(&progress.meter),
    });
    Ok(())
}

/// What the learning rate is multiplied by in a step of the present epoch.
fn lr_factor<T: Task>(setup: &Setup<T>, progress: &Progress<T::Meter>, step: u64) -> f64 {
    let steps = setup.feed.steps_per_epoch() as u64;
    setup.schedule.lr_factor(step, steps, setup.epochs) * progress.plateau.scale()
}

/// On the first step every trainable parameter must receive a finite gradient: else it would silently not train.
fn require_gradients(model: &Model, gradients: &[(usize, Option<Tensor>)]) -> Result<()> {
    for (id, gradient) in gradients {
        let name = &model.description.tensors[*id].name;
        let Some(gradient) = gradient else {
            return Err(Error::failed(format!(
                "trainable parameter `{name}` receives no gradient: the loss does not depend on it"
            ))
            .hint("freeze it, or train something that uses it"));
        };
        let sum = gradient.abs()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            return Err(Error::failed(format!("the first gradient of `{name}` is not finite")).hint(
                "lower the learning rate, check the normalisation of the data, or look for broken images",
            ));
        }
    }
    Ok(())
}

/// A step that spoils the weights is told by the next one's loss; after the last step there is none.
fn require_finite<T: Task>(setup: &Setup<T>, state: &State) -> Result<()> {
    for row in setup.table.rows.iter().filter(|row| row.trainable) {
        let sum = state.tensors[row.id].to_dtype(candle_core::DType::F64)?.abs()?.sum_all()?;
        if !sum.to_scalar::<f64>()?.is_finite() {
            return Err(Error::failed(format!("`{}` is not finite after the last step", row.name))
                .hint("lower the learning rate or add a warmup"));
        }
    }
    Ok(())
}

/// Validates, writes the history row, and lets the tracker judge it.
fn close_epoch<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
    host: &mut dyn Host,
) -> Result<()> {
    let validation = match setup.feed.validation() {
        Some(batches) => Some(validate(setup, &progress.state, batches?)?),
        None => None,
    };
    let mut row = Row {
        epoch: progress.epoch + 1,
        lr: setup.base_lr * lr_factor(setup, progress, progress.step.saturating_sub(1)),
        train: setup.task.scores(&progress.meter),
        validation: validation.as_ref().map(|meter| setup.task.scores(meter)),
        best: false,
    };
    if let (Some(scores), Some(meter)) = (&row.validation, validation) {
        let value = scores.get(score(setup.monitor)).copied().unwrap_or(f64::NAN);
        row.best = progress.tracker.observe(row.epoch, value);
        if let Schedule::ReduceOnPlateau(rule) = setup.schedule {
            progress.plateau.observe(rule, setup.monitor, value);
        }
        if row.best {
            progress.keep_best(&setup.model.description, setup.table, meter);
        }
    }
    host.epoch(&row)?;
    progress.history.push(row);
    progress.epoch += 1;
    progress.batch = 0;
    progress.meter = setup.task.meter();
    Ok(())
}

/// Nothing seen is no loss of 0.
fn unreadable(split: &str) -> Error {
    Error::failed(format!("none of the {split} images can be read"))
        .hint("open some of them in an image viewer: the files may be damaged or of another type than their names say")
}

/// The validation score a monitor looks at.
fn score(monitor: Monitor) -> &'static str {
    match monitor {
        Monitor::ValidationLoss => "loss",
        Monitor::ValidationAccuracy => "accuracy",
        Monitor::ValidationMacroF1 => "macro_f1",
    }
}

fn validate<T: Task>(setup: &Setup<T>, state: &State, batches: super::Batches) -> Result<T::Meter> {
    let mut meter = setup.task.meter();
    let mut pass = Pass::inference(state);
    let mut batches = batches.peekable();
    if batches.peek().is_none() {
        return Err(unreadable("validation"));
    }
    for batch in batches {
        let batch = batch?;
        let layers = setup.first_layer..setup.model.description.layers.len();
        let output = setup.model.forward(&mut pass, layers, Value::constant(batch.input))?;
        setup.task.loss(pass.tape(), &output, &batch.targets, &mut meter)?;
    }
    Ok(meter)
}
