//! The training loop.

use candle_core::DType;

use super::checkpoint::{Progress, Row};
use super::guards::{require_finite, require_gradients, unreadable};
use super::setup::{Host, Setup, Step};
use super::task::{Batch, Batches, Task};
use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::model::{Pass, State};
use crate::pipeline::Schedule;

/// Trains to the end, or to the next checkpoint if interrupted. `progress` may come from a checkpoint: the result is
/// the same bytes either way.
pub fn fit<T: Task>(setup: &Setup<T>, progress: &mut Progress<T::Meter>, host: &mut dyn Host) -> Result<()> {
    let batches = setup.feed.batches_per_epoch();
    while progress.epoch < setup.settings.epochs && !should_stop(setup, progress) {
        begin_phase(setup, progress, host)?;
        for batch in setup.feed.train(progress.epoch, progress.batch)? {
            let batch = batch?;
            train_batch(setup, progress, &batch, host)?;
            progress.batch = batch.index + 1;
            if progress.batch.is_multiple_of(setup.settings.accumulate as usize) {
                optimizer_step(setup, progress)?;
            }
            host.step(&Step {
                epoch: progress.epoch,
                done: progress.batch,
                of: batches,
                images: batch.samples.len(),
                scores: &setup.task.running(&progress.meter),
            });
            if host.interrupted() {
                save(setup, progress, host)?;
                return Err(Error::interrupted("stopped on request after a checkpoint")
                    .hint("run the same command again to go on from there"));
            }
            if progress.batch < batches && host.checkpoint_due() {
                save(setup, progress, host)?;
            }
        }
        optimizer_step(setup, progress)?;
        if progress.step == 0 {
            return Err(unreadable("training"));
        }
        close_epoch(setup, progress, host)?;
        if host.checkpoint_due() {
            save(setup, progress, host)?;
        }
    }
    progress.broken.extend(setup.feed.broken());
    require_finite(setup.table, &progress.state)
}

/// What the file says thaws does thaw: a stage does not stop early ahead of its last phase.
fn should_stop<T: Task>(setup: &Setup<T>, progress: &Progress<T::Meter>) -> bool {
    progress.epoch > setup.table.last().after_epochs && progress.tracker.should_stop()
}

/// Where a phase begins, patience starts anew and its parameters join. To come here again, as after a resume, changes
/// nothing.
fn begin_phase<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
    host: &mut dyn Host,
) -> Result<()> {
    if progress.epoch > 0 && setup.table.phase(progress.epoch).after_epochs == progress.epoch {
        progress.tracker.restore_patience();
        if progress.batch == 0 {
            // The feed may have much to compute for the layers that are still frozen.
            save(setup, progress, host)?;
        }
    }
    progress.optimizer.begin_epoch(progress.epoch)
}

fn save<T: Task>(setup: &Setup<T>, progress: &mut Progress<T::Meter>, host: &mut dyn Host) -> Result<()> {
    progress.broken.extend(setup.feed.broken());
    let checkpoint = progress.checkpoint(&setup.model.description, setup.table)?;
    host.save(&checkpoint, progress.epoch, progress.step)
}

/// Forward and backward: gradients for the next optimizer step, and running statistics, which move with every batch.
fn train_batch<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
    batch: &Batch,
    host: &dyn Host,
) -> Result<()> {
    let phase = setup.table.phase(progress.epoch);
    let mut pass = Pass::training(
        &progress.state,
        &phase.trainable,
        &phase.norms,
        setup.seed,
        progress.epoch,
        &batch.streams,
    );
    let layers = batch.layer..setup.model.description.layers.len();
    let output = setup.model.forward(&mut pass, layers, Value::constant(batch.input.clone()))?;
    let mut loss = setup.task.loss(pass.tape(), &output, &batch.targets, &mut progress.meter)?;
    if let Some(teacher) = &batch.teacher {
        loss = setup.task.taught(pass.tape(), loss, &output, teacher)?;
    }
    drop(output);

    let value = loss.tensor().to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if !value.is_finite() {
        return Err(Error::failed(format!(
            "the loss is {value} in epoch {}, step {}, at a learning rate of {:e}, on {}",
            progress.epoch + 1,
            batch.index + 1,
            setup.lr(progress, progress.step),
            host.describe(&batch.samples),
        ))
        .hint("lower the learning rate or add a warmup; the last checkpoint before this step is kept"));
    }
    let (gradients, running_statistics) = pass.backward(&loss)?;
    drop(loss);
    if progress.optimizer.has_newcomers() {
        require_gradients(setup.model, &gradients)?;
    }
    for (id, tensor) in running_statistics {
        progress.state.tensors[id] = tensor;
    }
    progress.gradients.add(gradients, batch.samples.len())
}

/// One step on the gradients since the last, if there are any.
fn optimizer_step<T: Task>(setup: &Setup<T>, progress: &mut Progress<T::Meter>) -> Result<()> {
    if progress.gradients.is_empty() {
        return Ok(());
    }
    let mut gradients = std::mem::take(&mut progress.gradients);
    if let Some(most) = setup.settings.clip_norm {
        let norm = gradients.clip(most)?;
        if !norm.is_finite() {
            return Err(Error::failed(format!(
                "the norm of the gradients is {norm} in epoch {}, step {}",
                progress.epoch + 1,
                progress.batch,
            ))
            .hint("lower the learning rate or add a warmup; the last checkpoint before this step is kept"));
        }
    }
    let gradients: Vec<_> = gradients.mean.into_iter().map(|(id, mean)| (id, Some(mean))).collect();
    let factor = setup.lr_factor(progress, progress.step);
    progress.optimizer.step(&mut progress.state.tensors, &gradients, factor)?;
    progress.step += 1;
    if let Some(average) = &mut progress.average {
        average.update(&progress.state, progress.step)?;
    }
    Ok(())
}

/// Validates, writes the history row, and lets the tracker judge it.
fn close_epoch<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
    host: &mut dyn Host,
) -> Result<()> {
    let validation = match setup.feed.validation(progress.epoch) {
        Some(batches) => Some(validate(setup, &progress.result(), batches?)?),
        None => None,
    };
    let mut row = Row {
        epoch: progress.epoch + 1,
        lr: setup.lr(progress, progress.step.saturating_sub(1)),
        train: setup.task.scores(&progress.meter),
        validation: validation.as_ref().map(|meter| setup.task.scores(meter)),
        best: false,
    };
    if let (Some(scores), Some(meter)) = (&row.validation, validation) {
        let settings = setup.settings;
        let value = scores.get(settings.monitor.score()).copied().unwrap_or(f64::NAN);
        row.best = progress.tracker.observe(row.epoch, value);
        if let Schedule::ReduceOnPlateau(rule) = &settings.schedule {
            progress.plateau.observe(rule, settings.monitor, value);
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

fn validate<T: Task>(setup: &Setup<T>, state: &State, batches: Batches) -> Result<T::Meter> {
    let mut meter = setup.task.validation_meter();
    let mut pass = Pass::inference(state);
    let mut batches = batches.peekable();
    if batches.peek().is_none() {
        return Err(unreadable("validation"));
    }
    for batch in batches {
        let batch = batch?;
        let layers = batch.layer..setup.model.description.layers.len();
        let output = setup.model.forward(&mut pass, layers, Value::constant(batch.input))?;
        setup.task.loss(pass.tape(), &output, &batch.targets, &mut meter)?;
    }
    Ok(setup.task.settled(meter))
}
