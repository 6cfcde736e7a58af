//! An evaluation of several ranks: they run the network on batches in turn, and rank 0 measures the outputs in order.

use candle_core::{DType, Device, Tensor};

use super::StageContext;
use crate::data::{Dataset, Symmetry};
use crate::device::to_device;
use crate::error::{Error, Result};
use crate::model::{Activations, Model, Outputs, Pass};
use crate::ranks::{Reader, Writer};
use crate::task::{Annotated, Annotations, Evaluator};
use crate::train::{Scores, TrainBatch, next_of_index};

/// The network of an evaluation.
pub(super) struct EvaluatedNetwork<'a> {
    pub model: &'a Model,
    /// The layers that have run.
    pub layers: usize,
    /// The versions of each image.
    pub versions: &'a [Symmetry],
}

/// What a rank tells rank 0 after each of its batches.
struct Message {
    /// Whether it has no more batches.
    over: bool,
    batch: Option<PredictedBatch>,
}

struct PredictedBatch {
    index: usize,
    samples: Vec<usize>,
    /// The tensors that the network puts out for each version.
    outputs: Vec<Vec<Tensor>>,
}

impl EvaluatedNetwork<'_> {
    /// Predicts the own batches; rank 0 also measures those of all ranks, and reports each.
    ///
    /// # Errors
    /// Those of any rank.
    pub fn predict_together(
        &self,
        dataset: &Dataset,
        batches: Annotated,
        pass: &mut Pass,
        evaluator: &mut dyn Evaluator,
        context: &StageContext,
        report: &mut dyn FnMut(usize, Vec<usize>, Scores),
    ) -> Result<()> {
        let team = context.team;
        let mut batches = batches.peekable();
        for round in 0.. {
            let index = round * team.count() + team.rank();
            let own = next_of_index(&mut batches, index);
            let own = context
                .interrupt
                .check()
                .and_then(|()| own.map(|batch| self.predict(batch?, pass, evaluator)).transpose());
            let message = own.and_then(|batch| Message { over: batches.peek().is_none(), batch }.to_bytes());
            let messages = team.gather(message)?;
            let mut over = true;
            for bytes in &messages {
                let message = Message::read(bytes, team.leads())?;
                over &= message.over;
                let Some(PredictedBatch { index, samples, outputs }) = message.batch else { continue };
                let scores = self.measure(dataset, &samples, outputs, pass, evaluator, context)?;
                report(index, samples, scores);
            }
            if over {
                return Ok(());
            }
        }
        Ok(())
    }

    fn predict(
        &self,
        batch: TrainBatch<Annotations>,
        pass: &mut Pass,
        evaluator: &dyn Evaluator,
    ) -> Result<PredictedBatch> {
        let outputs = self.versions.iter().map(|version| {
            let input = match version.is_identity() {
                true => batch.input.clone(),
                false => batch.input.map(|images| version.apply(images))?,
            };
            let outputs = evaluator.forward(self.model, pass, self.layers, input)?;
            Ok(outputs.tensors().cloned().collect())
        });
        Ok(PredictedBatch {
            index: batch.index,
            outputs: outputs.collect::<Result<_>>()?,
            samples: batch.samples,
        })
    }

    fn measure(
        &self,
        dataset: &Dataset,
        samples: &[usize],
        outputs: Vec<Vec<Tensor>>,
        pass: &mut Pass,
        evaluator: &mut dyn Evaluator,
        context: &StageContext,
    ) -> Result<Scores> {
        let annotations = Annotations::of(samples.iter().map(|sample| &dataset.samples[*sample]));
        let mut scores = Scores::new();
        for tensors in outputs {
            let tensors = tensors.iter().map(|tensor| to_device(tensor, context.device));
            let tensors = Activations::constants(tensors.collect::<Result<Vec<_>>>()?);
            let outputs = Outputs::new(evaluator.output_names(self.model), tensors)?;
            scores = evaluator.update(pass.tape(), &outputs, &annotations, samples)?;
        }
        Ok(scores)
    }
}

impl Message {
    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        writer.flag(self.over).flag(self.batch.is_some());
        let Some(PredictedBatch { index, samples, outputs }) = &self.batch else {
            return Ok(writer.finish());
        };
        writer.number(*index as u64).indices(samples);
        writer.number(outputs.len() as u64);
        for tensors in outputs {
            writer.number(tensors.len() as u64);
            for tensor in tensors {
                writer.indices(tensor.dims());
                if tensor.dtype() != DType::F32 {
                    return Err(Error::bug(format!("an output in {:?}", tensor.dtype())));
                }
                let numbers = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
                writer.bytes(&bytes);
            }
        }
        Ok(writer.finish())
    }

    /// Only rank 0 reads the batch.
    fn read(bytes: &[u8], leads: bool) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let over = reader.flag()?;
        if !reader.flag()? || !leads {
            return Ok(Self { over, batch: None });
        }
        let index = reader.length()?;
        let samples = reader.indices()?;
        let mut outputs = Vec::new();
        for _ in 0..reader.length()? {
            let mut tensors = Vec::new();
            for _ in 0..reader.length()? {
                let shape = reader.indices()?;
                let numbers = reader.bytes()?.chunks_exact(4);
                let numbers = numbers.map(|x| f32::from_ne_bytes([x[0], x[1], x[2], x[3]])).collect();
                tensors.push(Tensor::from_vec::<_, f32>(numbers, shape, &Device::Cpu)?);
            }
            outputs.push(tensors);
        }
        Ok(Self { over, batch: Some(PredictedBatch { index, samples, outputs }) })
    }
}
