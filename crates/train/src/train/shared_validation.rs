//! A validation of several ranks: they take batches in turn, and all count the batches in order.

use super::context::{TrainCallbacks, TrainContext};
use super::finite_checks::unreadable;
use super::task::{Batches, Readings, TrainTask, next_of_index};
use crate::error::Result;
use crate::model::{Pass, StateDict};
use crate::ranks::{Reader, Writer};

/// What a rank tells the others after each of its batches.
struct Message {
    stop: bool,
    /// Whether it has no more batches.
    over: bool,
    readings: Option<Readings>,
}

/// The meter of a validation, on every rank. `None` if a stop is wished. `batches` are those of this rank.
pub(super) fn validate<T: TrainTask>(
    context: &TrainContext<T>,
    state: &StateDict,
    batches: Result<Batches<T::Targets>>,
    callbacks: &dyn TrainCallbacks,
) -> Result<Option<T::Meter>> {
    let (team, task) = (context.team, context.task);
    let mut meter = task.validation_meter();
    let mut pass = Pass::inference(state);
    let mut batches = match batches {
        Ok(batches) => batches.peekable(),
        Err(error) => return team.gather(Err(error)).map(|_| None),
    };
    let mut counted = 0;
    for round in 0.. {
        let index = round * team.count() + team.rank();
        let mut own = || {
            let readings = match next_of_index(&mut batches, index) {
                None => None,
                Some(batch) => {
                    let batch = batch?;
                    let outputs = context.model.forward(&mut pass, batch.layer, batch.input)?;
                    let loss = task.loss(pass.tape(), &outputs, &batch.targets)?;
                    Some(task.pack(&meter, loss.stats)?)
                }
            };
            let message = Message { stop: callbacks.interrupted(), over: batches.peek().is_none(), readings };
            Ok(message.to_bytes())
        };
        let message = own();
        let messages = team.gather(message)?;
        let messages = messages.iter().map(|bytes| Message::read(bytes)).collect::<Result<Vec<_>>>()?;
        if messages.iter().any(|message| message.stop) {
            return Ok(None);
        }
        let over = messages.iter().all(|message| message.over);
        for readings in messages.into_iter().filter_map(|message| message.readings) {
            task.update(&mut meter, task.unpack(readings)?)?;
            counted += 1;
        }
        if over {
            break;
        }
    }
    if counted == 0 {
        return Err(unreadable("validation"));
    }
    Ok(Some(task.finalize(meter)))
}

impl Message {
    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.flag(self.stop).flag(self.over).flag(self.readings.is_some());
        if let Some(columns) = &self.readings {
            writer.columns(columns);
        }
        writer.finish()
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (stop, over) = (reader.flag()?, reader.flag()?);
        let readings = reader.flag()?.then(|| reader.columns()).transpose()?;
        Ok(Self { stop, over, readings })
    }
}
