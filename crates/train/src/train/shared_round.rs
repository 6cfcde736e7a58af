//! A round of several ranks: each computes one batch, and all count the batches in order.
//!
//! Every rank holds the whole state of the stage and ends the round with the same bits. A batch does not depend on the
//! batches before it in its step: neither the loss nor the gradients read the running statistics that these update.

use std::iter::Peekable;

use candle_core::{DType, Tensor};

use super::batch::compute;
use super::checkpoint::TrainProgress;
use super::context::{LossTerm, TrainContext};
use super::fit::optimizer_step;
use super::round::{Agreed, BatchResult, Round, Rounds};
use super::slices::{OwnedSlices, Slices};
use super::task::{Batches, Readings, TrainBatch, TrainTask, next_of_index};
use crate::device::to_host;
use crate::error::{Error, Result};
use crate::model::{BufferChange, BufferUpdates, ParameterGradients, StateDict, TensorId};
use crate::ranks::{Reader, Team, Writer};

/// The gradients of a step in progress, of which each rank owns slices.
pub(super) struct SharedRounds<'a> {
    team: &'a Team<'a>,
    /// Of the whole loss, or of the labels' and the teacher's.
    slices: [OwnedSlices; 2],
}

impl<'a> SharedRounds<'a> {
    pub fn new<M>(team: &'a Team<'a>, progress: &mut TrainProgress<M>) -> Result<Self> {
        let slices = || OwnedSlices::new(team.rank(), team.count());
        let mut rounds = Self { team, slices: [slices(), slices()] };
        rounds.slices[0].take(std::mem::take(&mut progress.gradients))?;
        rounds.slices[1].take(std::mem::take(&mut progress.taught))?;
        Ok(rounds)
    }

    pub fn next<T: TrainTask>(
        &mut self,
        context: &TrainContext<T>,
        progress: &mut TrainProgress<T::Meter>,
        own: &mut Peekable<Batches<'_, T::Targets>>,
        next: &mut usize,
        wishes: Agreed,
    ) -> Result<Option<Round<T::BatchStats>>> {
        let share = Rounds::share(context, *next);
        let range = share.round(*next, context.batch_source.batches_per_epoch());
        if range.is_empty() {
            return Ok(None);
        }
        let index = range.start + self.team.rank();
        let batch = if range.contains(&index) { next_of_index(own, index) } else { None };
        let computed = batch.map(|batch| of_batch(context, progress, &batch?)).transpose();
        let (message, own_gradients) = match computed {
            Err(error) => (Err(error), Vec::new()),
            Ok(None) => (Ok(None), Vec::new()),
            Ok(Some((message, gradients))) => (Ok(Some(message)), gradients),
        };
        let message = message.and_then(|batch| Message { batch, wishes }.to_bytes());
        let messages = self.team.gather(message)?;
        let messages =
            messages.iter().map(|bytes| Message::read(bytes, &progress.state)).collect::<Result<Vec<_>>>()?;
        self.add(&progress.state, &messages, own_gradients)?;
        let agreed = Agreed {
            stop: messages.iter().any(|message| message.wishes.stop),
            checkpoint_due: messages.iter().any(|message| message.wishes.checkpoint_due),
        };
        let mut batches = Vec::new();
        for batch in messages.into_iter().filter_map(|message| message.batch) {
            progress.apply(&batch.running_statistics)?;
            progress.batch = batch.index + 1;
            let stats = batch.readings.map(|readings| context.task.unpack(readings)).transpose()?;
            let BatchMessage { index, samples, parts, .. } = batch;
            batches.push(BatchResult { index, samples, parts, stats });
        }
        *next = range.end;
        let accumulate = context.settings.accumulate as usize;
        let whole = range.end.is_multiple_of(accumulate) && progress.batch == range.end;
        let mut norm = None;
        if whole {
            self.collect(progress)?;
            self.reset();
            norm = optimizer_step(context, progress)?;
        }
        Ok(Some(Round { batches, norm, agreed: Some(agreed) }))
    }

    /// Sends the gradients of the own batch to the owners of their slices, and adds the own slices of all batches in order.
    fn add(
        &mut self,
        state: &StateDict,
        messages: &[Message],
        own: Vec<(ParameterGradients, f64)>,
    ) -> Result<()> {
        if messages.iter().all(|message| message.batch.is_none()) {
            return Ok(());
        }
        // The gradients are not kept besides their slices.
        let team = self.team;
        let parts = move || {
            let mut parts = vec![Vec::new(); team.count()];
            own.iter().try_for_each(|(gradients, _)| OwnedSlices::append_parts(gradients, &mut parts))?;
            Ok(parts)
        };
        let received = team.exchange(parts())?;
        for (message, bytes) in messages.iter().zip(&received) {
            let Some(batch) = &message.batch else { continue };
            let mut slices = Slices(bytes);
            for (sum, (present, weight)) in self.slices.iter_mut().zip(&batch.gradients) {
                sum.add(state, present, *weight, &mut slices)?;
            }
            slices.finish()?;
        }
        Ok(())
    }

    /// The complete gradients, which every rank gets.
    pub fn collect<M>(&self, progress: &mut TrainProgress<M>) -> Result<()> {
        for (own, whole) in self.slices.iter().zip([&mut progress.gradients, &mut progress.taught]) {
            if own.is_empty() {
                continue;
            }
            let all = self.team.gather(own.to_bytes())?;
            let mut slices: Vec<Slices> = all.iter().map(|bytes| Slices(bytes)).collect();
            *whole = own.whole(&progress.state, &mut slices)?;
            slices.iter().try_for_each(Slices::finish)?;
        }
        Ok(())
    }

    pub fn reset(&mut self) {
        self.slices.iter_mut().for_each(OwnedSlices::reset);
    }
}

/// Computes the own batch: what others need to know, and its gradients.
fn of_batch<T: TrainTask>(
    context: &TrainContext<T>,
    progress: &TrainProgress<T::Meter>,
    batch: &TrainBatch<T::Targets>,
) -> Result<(BatchMessage, Vec<(ParameterGradients, f64)>)> {
    let computed = compute(context, progress, batch)?;
    let (parts, stats) = computed.losses.read()?;
    let readings = stats.map(|stats| context.task.pack(&progress.meter, stats)).transpose()?;
    let present = |gradients: &ParameterGradients| {
        gradients.iter().map(|(id, gradient)| (*id, gradient.is_some())).collect()
    };
    let message = BatchMessage {
        index: batch.index,
        samples: batch.samples.clone(),
        parts,
        gradients: computed.gradients.iter().map(|(all, weight)| (present(all), *weight)).collect(),
        running_statistics: computed.running_statistics,
        readings,
    };
    Ok((message, computed.gradients))
}

/// What a rank tells the others in every round.
struct Message {
    wishes: Agreed,
    /// `None` if it has no batch, or none of whose images can be read.
    batch: Option<BatchMessage>,
}

struct BatchMessage {
    index: usize,
    samples: Vec<usize>,
    parts: Vec<LossTerm>,
    /// For each mean loss: the parameters that train, whether there is a gradient, and the denominator.
    gradients: Vec<(Vec<(TensorId, bool)>, f64)>,
    running_statistics: BufferUpdates,
    readings: Option<Readings>,
}

impl Message {
    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        writer.flag(self.wishes.stop).flag(self.wishes.checkpoint_due).flag(self.batch.is_some());
        if let Some(batch) = &self.batch {
            batch.write(&mut writer)?;
        }
        Ok(writer.finish())
    }

    fn read(bytes: &[u8], state: &StateDict) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let wishes = Agreed { stop: reader.flag()?, checkpoint_due: reader.flag()? };
        let batch = reader.flag()?.then(|| BatchMessage::read(&mut reader, state)).transpose()?;
        Ok(Self { wishes, batch })
    }
}

impl BatchMessage {
    fn write(&self, writer: &mut Writer) -> Result<()> {
        writer.number(self.index as u64).indices(&self.samples);
        writer.floats(&self.parts.iter().flat_map(|part| [part.loss, part.weight]).collect::<Vec<_>>());
        writer.number(self.gradients.len() as u64);
        for (present, weight) in &self.gradients {
            writer.floats(&[*weight]).number(present.len() as u64);
            present.iter().for_each(|(id, has)| _ = writer.number(*id as u64).flag(*has));
        }
        writer.number(self.running_statistics.len() as u64);
        for (id, change) in &self.running_statistics {
            writer.number(*id as u64);
            match change {
                BufferChange::Count => writer.floats(&[]),
                BufferChange::Average { batch, momentum } => {
                    let statistic = to_host(batch)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
                    writer.floats(&[*momentum]).floats(&statistic)
                }
            };
        }
        writer.flag(self.readings.is_some());
        if let Some(columns) = &self.readings {
            writer.columns(columns);
        }
        Ok(())
    }

    /// `state` has the types, shapes and devices of running statistics.
    fn read(reader: &mut Reader, state: &StateDict) -> Result<Self> {
        let index = reader.length()?;
        let samples = reader.indices()?;
        let parts = reader.floats()?;
        let parts = parts.chunks_exact(2).map(|part| LossTerm { loss: part[0], weight: part[1] }).collect();
        let gradients = (0..reader.length()?).map(|_| {
            let weight = first(&reader.floats()?)?;
            let present = (0..reader.length()?).map(|_| Ok((reader.length()?, reader.flag()?)));
            Ok((present.collect::<Result<_>>()?, weight))
        });
        let gradients = gradients.collect::<Result<_>>()?;
        let statistics = (0..reader.length()?).map(|_| {
            let id = reader.length()?;
            let momentum = reader.floats()?;
            if momentum.is_empty() {
                return Ok((id, BufferChange::Count));
            }
            let like: &Tensor =
                state.tensors.get(id).ok_or_else(|| Error::bug("a statistic of no tensor"))?;
            let batch = Tensor::from_vec(reader.floats()?, like.shape(), &candle_core::Device::Cpu)?;
            let batch = batch.to_dtype(like.dtype())?.to_device(like.device())?;
            Ok((id, BufferChange::Average { batch, momentum: first(&momentum)? }))
        });
        let running_statistics = statistics.collect::<Result<_>>()?;
        let readings = reader.flag()?.then(|| reader.columns()).transpose()?;
        Ok(Self { index, samples, parts, gradients, running_statistics, readings })
    }
}

fn first(numbers: &[f64]) -> Result<f64> {
    numbers.first().copied().ok_or_else(|| Error::bug("a message of another rank lacks a number"))
}
