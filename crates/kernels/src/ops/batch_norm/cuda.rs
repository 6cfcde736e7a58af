//! Batch normalization on CUDA: the CPU's formulas in the same order. Nothing is read back to the host.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Tensor};

use super::BatchStatistics;
use crate::autograd::{Backward, Tape, Value};
use crate::cuda::{Address, Engine, RowChunks, address, arguments, kernel, optional};
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::activation::cuda::code;

/// A normalization with known statistics, on the device.
struct CudaNorm {
    channels: usize,
    /// Mean and 1 / deviation, [2, C].
    norm: CudaSlice<f64>,
    /// Centre, scale and offset of the affine function, [3, C].
    affine: CudaSlice<f32>,
    activation: Activation,
    /// The statistics are the batch's own, so gradients flow through them.
    of_batch: bool,
}

pub fn training(
    tape: &mut Tape,
    [x, weight, bias]: [&Value; 3],
    eps: f64,
    activation: Activation,
    residual: Option<&Value>,
) -> Result<(Value, BatchStatistics)> {
    let (norm, statistics) = {
        let (x, weight, bias) = (x.tensor(), weight.tensor(), bias.tensor());
        let engine = Engine::of(x)?;
        let channels = weight.elem_count();
        let rows = x.elem_count() / channels;
        let RowChunks { rows: chunk, count } = RowChunks::of(rows, channels);
        let partial = engine.buffer::<f64>(count as usize * 2 * channels)?;
        let norm = CudaNorm::new(&engine, channels, activation, true)?;
        let (statistics, to) = engine.tensor(DType::F32, (2, channels))?;
        let sums = engine.address(&partial);
        let [first, second] = [engine.address(&norm.norm), engine.address(&norm.affine)];
        let arguments = arguments![rows as i64, channels as i32, chunk, address(x)?, sums];
        engine.columns(&kernel("moments", x.dtype())?, channels, [count as usize, 1], arguments)?;
        let name = kernel("batch_statistics", x.dtype())?;
        let [weight, bias] = [address(weight)?, address(bias)?];
        engine.columns(
            &name,
            channels,
            [1, 1],
            arguments![
                rows as i64,
                channels as i32,
                count,
                address(x)?,
                sums,
                weight,
                bias,
                eps,
                first,
                second,
                to
            ],
        )?;
        (norm, BatchStatistics { mean: statistics.get(0)?, variance: statistics.get(1)? })
    };
    Ok((norm.apply(tape, [x, weight, bias], residual)?, statistics))
}

pub fn frozen(
    tape: &mut Tape,
    [x, weight, bias]: [&Value; 3],
    [mean, variance]: [&Tensor; 2],
    eps: f64,
    activation: Activation,
    residual: Option<&Value>,
) -> Result<Value> {
    let engine = Engine::of(x.tensor())?;
    let channels = weight.tensor().elem_count();
    let norm = CudaNorm::new(&engine, channels, activation, false)?;
    let [first, second] = [engine.address(&norm.norm), engine.address(&norm.affine)];
    let [scale, shift] = [address(weight.tensor())?, address(bias.tensor())?];
    let [mean, variance] = [address(mean)?, address(variance)?];
    let arguments = arguments![channels as i32, mean, variance, scale, shift, eps, first, second];
    engine.numbers("frozen_statistics", channels, arguments)?;
    norm.apply(tape, [x, weight, bias], residual)
}

/// PyTorch's update of a running statistic.
pub fn update_running_statistic(running: &Tensor, batch: &Tensor, momentum: f64) -> Result<Tensor> {
    let engine = Engine::of(running)?;
    let channels = running.elem_count();
    let (out, to) = engine.tensor(DType::F32, running.shape())?;
    let [kept, taken] = [(1.0 - momentum) as f32, momentum as f32];
    let arguments = arguments![channels as i32, address(running)?, address(batch)?, kept, taken, to];
    engine.numbers("running_statistic", channels, arguments)?;
    Ok(out)
}

impl CudaNorm {
    fn new(engine: &Engine, channels: usize, activation: Activation, of_batch: bool) -> Result<Self> {
        let (norm, affine) = (engine.buffer(2 * channels)?, engine.buffer(3 * channels)?);
        Ok(Self { channels, norm, affine, activation, of_batch })
    }

    fn apply(self, tape: &mut Tape, inputs: [&Value; 3], residual: Option<&Value>) -> Result<Value> {
        let [x, weight, bias] = inputs;
        let tensor = x.tensor();
        let engine = Engine::of(tensor)?;
        let (output, to) = engine.tensor(tensor.dtype(), tensor.shape())?;
        let (count, added) = (tensor.elem_count(), optional(residual.map(Value::tensor))?);
        let affine = engine.address(&self.affine);
        let code = code(self.activation);
        let arguments =
            arguments![count as i64, self.channels as i32, address(tensor)?, added, affine, code, to];
        engine.numbers(&kernel("normalize", tensor.dtype())?, count, arguments)?;

        let clamp = self.activation.is_clamp();
        let through_residual = residual.is_some() && self.activation != Activation::None;
        let trains = !weight.is_constant() || !bias.is_constant();
        let keep_x = !clamp || trains || (self.of_batch && !x.is_constant());
        let mut inputs = inputs.to_vec();
        inputs.extend(residual);
        Ok(tape.record(&inputs, output.clone(), || BatchNorm {
            x: keep_x.then(|| tensor.clone()),
            output: (clamp && (through_residual || !keep_x)).then_some(output),
            residual: residual.filter(|_| !clamp).map(|residual| residual.tensor().clone()),
            weight: weight.tensor().clone(),
            norm: self,
        }))
    }
}

/// It saves the same tensors as the CPU half, see `backward.rs`.
struct BatchNorm {
    norm: CudaNorm,
    x: Option<Tensor>,
    output: Option<Tensor>,
    residual: Option<Tensor>,
    weight: Tensor,
}

impl Backward for BatchNorm {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let engine = Engine::of(&grad)?;
        let (channels, dtype) = (self.norm.channels, grad.dtype());
        let rows = grad.elem_count() / channels;
        let RowChunks { rows: chunk, count } = RowChunks::of(rows, channels);
        let none = self.norm.activation == Activation::None;
        let wants_residual = wanted.get(3).copied().unwrap_or(false);
        // The gradient before the activation is written only if the residual needs it; otherwise it is computed
        // where it is used.
        let cut = (wants_residual && !none).then(|| engine.tensor(dtype, grad.shape())).transpose()?;
        let written = cut.as_ref().map_or(Address::NONE, |(_, address)| *address);
        let [norm, affine] = [engine.address(&self.norm.norm), engine.address(&self.norm.affine)];
        let [x, output] = [optional(self.x.as_ref())?, optional(self.output.as_ref())?];
        let residual = optional(self.residual.as_ref())?;
        let activation = code(self.norm.activation);

        let needs_sums = wanted[1] || wanted[2] || (wanted[0] && self.norm.of_batch) || cut.is_some();
        let (totals, to) = engine.tensor(DType::F32, (4, channels))?;
        let part = |index: usize| to.plus(index * channels * size_of::<f32>());
        if needs_sums {
            let partial = engine.buffer::<f64>(count as usize * 2 * channels)?;
            let sums = engine.address(&partial);
            engine.columns(
                &kernel("gradient_sums", dtype)?,
                channels,
                [count as usize, 1],
                arguments![
                    rows as i64,
                    channels as i32,
                    chunk,
                    address(&grad)?,
                    x,
                    residual,
                    output,
                    norm,
                    affine,
                    activation,
                    sums,
                    written
                ],
            )?;
            let (weight, out) = (address(&self.weight)?, [part(0), part(1), part(2)]);
            let arguments = arguments![
                rows as i64,
                channels as i32,
                count,
                sums,
                norm,
                affine,
                weight,
                out[0],
                out[1],
                out[2]
            ];
            engine.columns("gradient_totals", channels, [1, 1], arguments)?;
        }
        let mut gradients = vec![None; wanted.len()];
        if wanted[0] {
            let (out, to) = engine.tensor(dtype, grad.shape())?;
            let back = if self.norm.of_batch { part(2) } else { Address::NONE };
            let (from, activation) = match &cut {
                Some((_, address)) => (*address, 0),
                None => (address(&grad)?, activation),
            };
            let length = grad.elem_count();
            engine.numbers(
                &kernel("towards_x", dtype)?,
                length,
                arguments![
                    length as i64,
                    channels as i32,
                    from,
                    x,
                    residual,
                    output,
                    affine,
                    back,
                    activation,
                    to
                ],
            )?;
            gradients[0] = Some(out);
        }
        if wanted[1] {
            gradients[1] = Some(totals.get(0)?);
        }
        if wanted[2] {
            gradients[2] = Some(totals.get(1)?);
        }
        if wants_residual {
            // Without an activation, the residual's gradient is the output's.
            gradients[3] = Some(cut.map_or(grad, |(cut, _)| cut));
        }
        Ok(gradients)
    }
}
