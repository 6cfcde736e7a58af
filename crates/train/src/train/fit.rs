//! The training loop.

use super::batch::{only, teacher_share, train_batch};
use super::checkpoint::{Progress, Row};
use super::guards::{require_finite, unreadable};
use super::setup::{Host, Setup, Step};
use super::task::{Batches, Task};
use crate::error::{Error, Result};
use crate::model::{Pass, State};
use crate::ops::Later;

/// Trains to the end, or to the next checkpoint if interrupted. `progress` may come from a checkpoint: the result is
/// the same bytes either way.
pub fn fit<T: Task>(setup: &Setup<T>, progress: &mut Progress<T::Meter>, host: &mut dyn Host) -> Result<()> {
    let batches = setup.feed.batches_per_epoch();
    while progress.epoch < setup.settings.epochs && !should_stop(setup, progress) {
        begin_phase(setup, progress, host)?;
        for batch in setup.feed.train(progress.epoch, progress.batch)? {
            let batch = batch?;
            let lr = setup.lr(progress, progress.step);
            let losses = train_batch(setup, progress, &batch)?;
            progress.batch = batch.index + 1;
            let whole = progress.batch.is_multiple_of(setup.settings.accumulate as usize);
            let norm = if whole { optimizer_step(setup, progress)? } else { None };
            // Only here does the host wait for a GPU, which has the walk back and the update still ahead of it.
            let (parts, stats) = losses.read()?;
            let loss = parts.iter().map(|part| part.loss).sum::<f64>();
            if let Some(stats) = stats {
                setup.task.update(&mut progress.meter, stats)?;
            }
            host.step(&Step {
                epoch: progress.epoch,
                done: progress.batch,
                of: batches,
                images: batch.samples.len(),
                loss,
                parts: &parts,
                scores: &setup.task.progress(&progress.meter),
            });
            if !loss.is_finite() {
                let samples = host.describe(&batch.samples);
                let at = format!(", at a learning rate of {lr:e}, on {samples}");
                return Err(diverged(progress, format_args!("the loss is {loss}"), &at));
            }
            require_norm(norm, progress)?;
            if host.interrupted() {
                return stop(setup, progress, host);
            }
            if progress.batch < batches && host.checkpoint_due() {
                save(setup, progress, host)?;
            }
        }
        let norm = optimizer_step(setup, progress)?;
        require_norm(norm, progress)?;
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

/// Leaves a checkpoint and ends the stage, as was asked.
fn stop<T: Task>(setup: &Setup<T>, progress: &mut Progress<T::Meter>, host: &mut dyn Host) -> Result<()> {
    save(setup, progress, host)?;
    Err(Error::interrupted("stopped on request after a checkpoint")
        .hint("run the same command again to continue"))
}

/// One step on the gradients since the last, if there are any. Gives their norm, where it is asked for.
fn optimizer_step<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
) -> Result<Option<Later<f64>>> {
    if progress.gradients.is_empty() {
        return Ok(None);
    }
    let mut gradients = std::mem::take(&mut progress.gradients);
    if !progress.taught.is_empty() {
        gradients = gradients.blended(std::mem::take(&mut progress.taught), teacher_share(setup))?;
    }
    let norm = setup.settings.clip_norm.map(|most| gradients.clip(most)).transpose()?;
    let gradients: Vec<_> = gradients.mean.into_iter().map(|(id, mean)| (id, Some(mean))).collect();
    let factor = setup.lr_factor(progress, progress.step);
    progress.optimizer.step(&mut progress.state.tensors, &gradients, factor)?;
    progress.step += 1;
    if let Some(average) = &mut progress.average {
        average.update(&progress.state, progress.step)?;
    }
    Ok(norm)
}

/// Ends the stage where gradients are not finite: they were not clipped, and what was made of them is thrown away.
fn require_norm<M>(norm: Option<Later<f64>>, progress: &Progress<M>) -> Result<()> {
    match norm.map(only).transpose()? {
        Some(norm) if !norm.is_finite() => {
            Err(diverged(progress, format_args!("the norm of the gradients is {norm}"), ""))
        }
        _ => Ok(()),
    }
}

fn diverged<M>(progress: &Progress<M>, what: std::fmt::Arguments, at: &str) -> Error {
    let (epoch, step) = (progress.epoch + 1, progress.batch);
    Error::failed(format!("{what} in epoch {epoch}, step {step}{at}"))
        .hint("lower the learning rate or add a warmup; the last checkpoint before this step is kept")
}

/// Validates, writes the history row, and lets the tracker judge it. An epoch that is stopped while it is validated is
/// one whose batches are all done: it is validated anew.
fn close_epoch<T: Task>(
    setup: &Setup<T>,
    progress: &mut Progress<T::Meter>,
    host: &mut dyn Host,
) -> Result<()> {
    let validation = match setup.feed.validation(progress.epoch) {
        Some(batches) => {
            let Some(meter) = validate(setup, &progress.result(), batches?, host)? else {
                return stop(setup, progress, host);
            };
            Some(meter)
        }
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
        if let Some(rule) = settings.schedule.settings().plateau() {
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

/// None where it was to stop.
fn validate<T: Task>(
    setup: &Setup<T>,
    state: &State,
    batches: Batches<T::Targets>,
    host: &dyn Host,
) -> Result<Option<T::Meter>> {
    let mut meter = setup.task.validation_meter();
    let mut pass = Pass::inference(state);
    let mut batches = batches.peekable();
    if batches.peek().is_none() {
        return Err(unreadable("validation"));
    }
    // A batch is counted when the next one is launched.
    let mut last = None;
    for batch in batches {
        if host.interrupted() {
            return Ok(None);
        }
        let batch = batch?;
        let outputs = setup.model.forward(&mut pass, batch.layer, batch.input)?;
        let loss = setup.task.loss(pass.tape(), &outputs, &batch.targets)?;
        if let Some(stats) = last.replace(loss.stats) {
            setup.task.update(&mut meter, stats)?;
        }
    }
    if let Some(stats) = last {
        setup.task.update(&mut meter, stats)?;
    }
    Ok(Some(setup.task.finalize(meter)))
}
