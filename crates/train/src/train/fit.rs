//! The training loop.

use std::collections::BTreeSet;

use super::batch::wait_scalar;
use super::checkpoint::{EpochRow, TrainProgress};
use super::context::{StepReport, TrainCallbacks, TrainContext};
use super::finite_checks::{require_finite, unreadable};
use super::round::{Agreed, BatchResult, Rounds};
use super::shared_validation;
use super::task::{Batches, TrainTask};
use crate::error::{Error, Result};
use crate::model::{Pass, StateDict};
use crate::ops::Deferred;
use crate::pipeline::Precision;
use crate::ranks::{BatchShare, Reader, Writer};

/// Trains to the end, or to the next checkpoint if interrupted. `progress` may come from a checkpoint: the
/// resulting bytes are the same.
pub fn fit<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
    callbacks: &mut dyn TrainCallbacks,
) -> Result<()> {
    let batches = context.batch_source.batches_per_epoch();
    let mut rounds = Rounds::new(context, progress)?;
    while progress.epoch < context.settings.epochs && !should_stop(context, progress) {
        begin_phase(context, progress, callbacks)?;
        let mut next = progress.batch;
        let mut own = context.batch_source.train(progress.epoch, Rounds::share(context, next))?.peekable();
        loop {
            let lr = context.lr(progress, progress.step);
            let wishes = wishes(context, callbacks);
            let Some(round) = rounds.next(context, progress, &mut own, &mut next, wishes)? else { break };
            for batch in round.batches {
                count(context, progress, callbacks, batch, lr)?;
            }
            require_norm(round.norm, progress)?;
            let stops = match round.agreed {
                None => callbacks.interrupted(),
                Some(agreed) => agreed.stop,
            };
            if stops {
                rounds.collect(progress)?;
                return stop(context, progress, callbacks);
            }
            let due = match round.agreed {
                None => progress.batch < batches && callbacks.checkpoint_due(),
                Some(agreed) => progress.batch < batches && agreed.checkpoint_due,
            };
            if due {
                rounds.collect(progress)?;
                save(context, progress, callbacks)?;
                rounds.release(progress);
            }
        }
        drop(own);
        rounds.collect(progress)?;
        rounds.reset();
        let norm = optimizer_step(context, progress)?;
        require_norm(norm, progress)?;
        if progress.step == 0 {
            return Err(unreadable("training"));
        }
        close_epoch(context, progress, callbacks)?;
        if agree(context, callbacks.checkpoint_due())? {
            save(context, progress, callbacks)?;
        }
    }
    progress.broken.extend(broken(context)?);
    require_finite(context.table, &progress.state)
}

/// What this process wishes after the next round; a process alone is asked afterwards.
fn wishes<T: TrainTask>(context: &TrainContext<T>, callbacks: &dyn TrainCallbacks) -> Agreed {
    match context.team.is_alone() {
        true => Agreed::default(),
        false => Agreed { stop: callbacks.interrupted(), checkpoint_due: callbacks.checkpoint_due() },
    }
}

/// Whether any rank says so.
fn agree<T: TrainTask>(context: &TrainContext<T>, own: bool) -> Result<bool> {
    Ok(context.team.gather(Ok(vec![u8::from(own)]))?.concat().contains(&1))
}

/// The skipped samples of all ranks.
fn broken<T: TrainTask>(context: &TrainContext<T>) -> Result<BTreeSet<String>> {
    let own = context.batch_source.broken();
    if context.team.is_alone() {
        return Ok(own);
    }
    let mut names = Writer::default();
    names.number(own.len() as u64);
    own.iter().for_each(|name| _ = names.bytes(name.as_bytes()));
    let mut all = BTreeSet::new();
    for names in context.team.gather(Ok(names.finish()))? {
        let mut names = Reader::new(&names);
        for _ in 0..names.number()? {
            all.insert(String::from_utf8_lossy(names.bytes()?).into_owned());
        }
    }
    context.batch_source.add_broken(&all);
    Ok(all)
}

/// Counts the result of a batch, and reports it.
fn count<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
    callbacks: &mut dyn TrainCallbacks,
    BatchResult { index, samples, parts, stats }: BatchResult<T::BatchStats>,
    lr: f64,
) -> Result<()> {
    let loss = parts.iter().map(|part| part.loss).sum::<f64>();
    if let Some(stats) = stats {
        context.task.update(&mut progress.meter, stats)?;
    }
    progress.batch = index + 1;
    callbacks.step(&StepReport {
        epoch: progress.epoch,
        done: progress.batch,
        of: context.batch_source.batches_per_epoch(),
        images: samples.len(),
        loss,
        parts: &parts,
        scores: &context.task.progress(&progress.meter),
    });
    if loss.is_finite() {
        return Ok(());
    }
    let samples = callbacks.describe_samples(&samples);
    let at = format!(", at a learning rate of {lr:e}, on {samples}");
    let error = diverged(progress, format_args!("the loss is {loss}"), &at);
    Err(match context.settings.precision {
        Precision::F16 => {
            error.hint("f16 has no numbers above 65504: use another `precision`, or lower the learning rate")
        }
        _ => error,
    })
}

/// Every scheduled unfreezing happens: a stage does not stop early before its last phase.
fn should_stop<T: TrainTask>(context: &TrainContext<T>, progress: &TrainProgress<T::Meter>) -> bool {
    progress.epoch > context.table.last().after_epochs && progress.tracker.should_stop()
}

/// At the start of a phase, patience is reset and its parameters are added to the optimizer. Repeating this, as
/// after resuming, changes nothing.
fn begin_phase<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
    callbacks: &mut dyn TrainCallbacks,
) -> Result<()> {
    if progress.epoch > 0 && context.table.phase(progress.epoch).after_epochs == progress.epoch {
        progress.tracker.restore_patience();
        if progress.batch == 0 {
            // The batch source may have to compute many features of the frozen layers.
            save(context, progress, callbacks)?;
        }
    }
    progress.optimizer.begin_epoch(progress.epoch)
}

fn save<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
    callbacks: &mut dyn TrainCallbacks,
) -> Result<()> {
    progress.broken.extend(broken(context)?);
    if !context.team.leads() {
        return Ok(());
    }
    let checkpoint = progress.checkpoint(&context.model.description, context.table)?;
    callbacks.save(&checkpoint, progress.epoch, progress.step)
}

/// Writes a checkpoint and ends the stage, as requested.
fn stop<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
    callbacks: &mut dyn TrainCallbacks,
) -> Result<()> {
    save(context, progress, callbacks)?;
    Err(Error::interrupted("stopped on request after a checkpoint")
        .hint("run the same command again to continue"))
}

/// One step with the gradients since the last, if there are any. Returns their norm, if it is needed.
pub(super) fn optimizer_step<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
) -> Result<Option<Deferred<f64>>> {
    if progress.gradients.is_empty() {
        return Ok(None);
    }
    let mut gradients = std::mem::take(&mut progress.gradients);
    if !progress.taught.is_empty() {
        let [_, of_teacher] = context.task.distillation_shares();
        gradients = gradients.blended(std::mem::take(&mut progress.taught), of_teacher)?;
    }
    if let Some(scale) = &progress.loss_scale {
        gradients = gradients.times(1.0 / scale.factor())?;
    }
    if context.task.sums_batches() {
        gradients = gradients.into_sum()?;
    }
    let mut norm = context.settings.clip_norm.map(|most| gradients.clip(most)).transpose()?;
    if let Some(scale) = &mut progress.loss_scale {
        // Whether there is an update depends on the norm, so the host waits for it.
        let known = norm.take().map_or_else(|| gradients.clip(f64::INFINITY), Ok)?;
        if !scale.observe(wait_scalar(known)?.is_finite())? {
            // The schedule goes on.
            progress.step += 1;
            return Ok(None);
        }
    }
    let gradients: Vec<_> = gradients.mean.into_iter().map(|(id, mean)| (id, Some(mean))).collect();
    let rates = context.step_rates(progress, progress.step);
    progress.optimizer.step(&mut progress.state.tensors, &gradients, rates)?;
    progress.step += 1;
    if let Some(average) = &mut progress.average {
        let skipped = progress.loss_scale.as_ref().map_or(0, |scale| scale.skipped_steps);
        average.update(&progress.state, progress.step - skipped)?;
    }
    Ok(norm)
}

/// Ends the stage if gradients are not finite: they were not clipped, and their update is discarded.
fn require_norm<M>(norm: Option<Deferred<f64>>, progress: &TrainProgress<M>) -> Result<()> {
    match norm.map(wait_scalar).transpose()? {
        Some(norm) if !norm.is_finite() => {
            Err(diverged(progress, format_args!("the norm of the gradients is {norm}"), ""))
        }
        _ => Ok(()),
    }
}

fn diverged<M>(progress: &TrainProgress<M>, what: std::fmt::Arguments, at: &str) -> Error {
    let (epoch, step) = (progress.epoch + 1, progress.batch);
    Error::failed(format!("{what} in epoch {epoch}, step {step}{at}"))
        .hint("lower the learning rate or add a warmup; the last checkpoint before this step is kept")
}

/// Validates, writes the history row, and updates the best epoch. If an epoch is interrupted during validation,
/// its batches are complete, and validation is repeated.
fn close_epoch<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &mut TrainProgress<T::Meter>,
    callbacks: &mut dyn TrainCallbacks,
) -> Result<()> {
    if !context.team.is_alone() {
        // Whether a class lost all its images depends on what all ranks have read.
        progress.broken.extend(broken(context)?);
    }
    let share = BatchShare::in_turn(context.team.rank(), context.team.count());
    let validation = match context.batch_source.validation(progress.epoch, share) {
        Some(batches) => {
            let state = progress.final_state();
            let validated = match context.team.is_alone() {
                true => validate(context, &state, batches?, callbacks)?,
                false => shared_validation::validate(context, &state, batches, callbacks)?,
            };
            let Some(meter) = validated else {
                return stop(context, progress, callbacks);
            };
            Some(meter)
        }
        None => None,
    };
    let last_step = progress.step.saturating_sub(1);
    let mut row = EpochRow {
        epoch: progress.epoch + 1,
        lr: context.lr(progress, last_step),
        bias_lr: context.step_rates(progress, last_step).bias_lr(context.settings.optimizer.lr()),
        train: context.task.scores(&progress.meter),
        validation: validation.as_ref().map(|meter| context.task.scores(meter)),
        best: false,
        skipped_steps: progress.skipped_in_epoch(),
    };
    if let (Some(scores), Some(meter)) = (&row.validation, validation) {
        let settings = context.settings;
        let value = scores.get(settings.monitor.score()).copied().unwrap_or(f64::NAN);
        row.best = progress.tracker.observe(row.epoch, value);
        if let Some(rule) = settings.schedule.settings().plateau() {
            progress.plateau.observe(rule, settings.monitor, value);
        }
        if row.best {
            progress.keep_best(&context.model.description, context.table, meter);
        }
    }
    callbacks.epoch(&row)?;
    progress.history.push(row);
    progress.epoch += 1;
    progress.batch = 0;
    progress.meter = context.task.meter();
    Ok(())
}

/// `None` if interrupted.
fn validate<T: TrainTask>(
    context: &TrainContext<T>,
    state: &StateDict,
    batches: Batches<T::Targets>,
    callbacks: &dyn TrainCallbacks,
) -> Result<Option<T::Meter>> {
    let mut meter = context.task.validation_meter();
    let mut pass = Pass::inference(state);
    let mut batches = batches.peekable();
    if batches.peek().is_none() {
        return Err(unreadable("validation"));
    }
    // A batch's statistics are read after the next batch is launched.
    let mut last = None;
    for batch in batches {
        if callbacks.interrupted() {
            return Ok(None);
        }
        let batch = batch?;
        let outputs = context.model.forward(&mut pass, batch.layer, batch.input)?;
        let loss = context.task.loss(pass.tape(), &outputs, &batch.targets)?;
        if let Some(stats) = last.replace(loss.stats) {
            context.task.update(&mut meter, stats)?;
        }
    }
    if let Some(stats) = last {
        context.task.update(&mut meter, stats)?;
    }
    Ok(Some(context.task.finalize(meter)))
}
