//! The callbacks of a train stage: live history, events, and checkpoints at intervals.

use std::path::Path;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::events::{Event, StepPosition, StepTimer};
use crate::freeze::ParameterTable;
use crate::metrics::{Metric, Scores};
use crate::report::{self, HistoryRow};
use crate::sanitize;
use crate::stage::StageContext;
use crate::task::{Task, TaskFile};
use crate::train::{EpochRow, StepReport, TrainCallbacks, TrainCheckpoint, TrainContext};

/// The two files of a checkpoint.
const TENSORS: &str = "tensors.safetensors";
const POSITION: &str = "position.toml";

/// The tables of a task for these epochs.
type EpochFiles<'a> = Box<dyn Fn(&[EpochRow]) -> Vec<TaskFile> + 'a>;

pub struct StageCallbacks<'a> {
    context: &'a StageContext<'a>,
    dataset: &'a Dataset,
    table: &'a ParameterTable,
    epochs: u32,
    batches_per_epoch: usize,
    /// The epochs so far, for the live history.
    rows: Vec<EpochRow>,
    /// The metrics of the task in each epoch.
    metrics: &'static [Metric],
    /// The task's own tables of the epochs.
    epoch_files: EpochFiles<'a>,
    pace: StepTimer,
    last_checkpoint: f64,
}

impl<'a> StageCallbacks<'a> {
    /// Includes the history of earlier training.
    pub fn new<T: Task>(
        context: &'a StageContext<'a>,
        dataset: &'a Dataset,
        train_context: &TrainContext<'a, T>,
        history: &[EpochRow],
    ) -> Result<Self> {
        let now = (context.clock)();
        let task = train_context.task;
        let callbacks = Self {
            context,
            dataset,
            table: train_context.table,
            epochs: train_context.settings.epochs,
            batches_per_epoch: train_context.batch_source.batches_per_epoch(),
            rows: history.to_vec(),
            metrics: task.metrics().history,
            epoch_files: Box::new(|rows| task.epoch_files(rows)),
            pace: StepTimer::new(now),
            last_checkpoint: now,
        };
        callbacks.write_live()?;
        Ok(callbacks)
    }

    /// Writes the tables of the epochs so far to where people look at them.
    fn write_live(&self) -> Result<()> {
        let row = |row| history_row(row, self.table, self.metrics);
        let rows: Vec<HistoryRow> = self.rows.iter().map(row).collect();
        self.context.live("history.csv", report::history_csv(&rows, self.metrics).as_bytes())?;
        (self.epoch_files)(&self.rows).iter().try_for_each(|file| self.context.live(file.name, &file.bytes))
    }
}

impl TrainCallbacks for StageCallbacks<'_> {
    fn step(&mut self, step: &StepReport) {
        let done = step.epoch as usize * self.batches_per_epoch + step.done;
        let position = StepPosition {
            stage: self.context.stage,
            epoch: step.epoch + 1,
            epochs: self.epochs,
            step: step.done,
            steps: step.of,
            left: (self.epochs as usize * self.batches_per_epoch).saturating_sub(done),
        };
        let now = (self.context.clock)();
        self.context.observer.event(&self.pace.step(now, step.images, position, step.scores.clone()));
    }

    fn epoch(&mut self, row: &EpochRow) -> Result<()> {
        self.rows.push(row.clone());
        self.write_live()?;
        let mut columns = vec![("lr".to_owned(), row.lr)];
        columns.extend(row.train.iter().map(|(name, value)| (format!("train_{name}"), *value)));
        for (name, value) in row.validation.iter().flatten() {
            columns.push((format!("validation_{name}"), *value));
        }
        columns.extend(row.skipped_steps.map(|steps| ("skipped_steps".to_owned(), steps as f64)));
        self.context.observer.event(&Event::EpochFinished {
            stage: self.context.stage.to_owned(),
            epoch: row.epoch,
            epochs: self.epochs,
            row: columns,
            best: row.best,
        });
        Ok(())
    }

    fn describe_samples(&self, samples: &[usize]) -> String {
        sanitize::list(samples.iter().map(|&index| &self.dataset.samples[index].path), 4)
    }

    fn checkpoint_due(&self) -> bool {
        // Rank 0 alone writes checkpoints.
        self.context.team.leads()
            && (self.context.clock)() - self.last_checkpoint >= self.context.checkpoint_seconds
    }

    fn interrupted(&self) -> bool {
        self.context.interrupt.requested()
    }

    fn save(&mut self, checkpoint: &TrainCheckpoint, epoch: u32, step: u64) -> Result<()> {
        self.context.checkpoints.save(&|folder| write(checkpoint, folder))?;
        self.last_checkpoint = (self.context.clock)();
        self.context.observer.event(&Event::CheckpointWritten {
            stage: self.context.stage.to_owned(),
            epoch,
            step,
        });
        Ok(())
    }
}

fn write(checkpoint: &TrainCheckpoint, folder: &Path) -> Result<()> {
    let tensors = checkpoint.tensors.iter().cloned().collect();
    let path = folder.join(TENSORS);
    candle_core::safetensors::save(&tensors, &path).map_err(|error| Error::tensors("write", &path, error))?;
    let position = folder.join(POSITION);
    let written = std::fs::write(&position, &checkpoint.position)
        // The tensors were written with private permissions: give them those of the other file.
        .and_then(|()| std::fs::set_permissions(&path, std::fs::metadata(&position)?.permissions()));
    written.map_err(|error| Error::io("write", &position, error))
}

/// Reads what [`StageCallbacks::save`] wrote.
pub fn read(folder: &Path) -> Result<TrainCheckpoint> {
    let path = folder.join(TENSORS);
    let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu)
        .map_err(|error| Error::tensors("read", &path, error))?;
    let path = folder.join(POSITION);
    let position = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
    Ok(TrainCheckpoint { tensors: tensors.into_iter().collect(), position })
}

/// An epoch as written to files: the scores that the task declares.
pub fn history_row(row: &EpochRow, table: &ParameterTable, metrics: &[Metric]) -> HistoryRow {
    let declared =
        |scores: &Scores, metric: &Metric| Some((metric.name.to_owned(), *scores.get(metric.name)?));
    let train = metrics.iter().filter(|metric| metric.in_training);
    let validation = |scores: &Scores| metrics.iter().filter_map(|metric| declared(scores, metric)).collect();
    let joining = table.phases.len() > 1;
    HistoryRow {
        epoch: row.epoch,
        lr: row.lr,
        train: train.filter_map(|metric| declared(&row.train, metric)).collect(),
        validation: row.validation.as_ref().map(validation),
        is_best: row.best,
        trainable_parameters: joining.then(|| table.trainable_in(row.epoch - 1) as u64),
        skipped_steps: row.skipped_steps,
    }
}
