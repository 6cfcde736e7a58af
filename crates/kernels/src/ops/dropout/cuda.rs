//! Dropout on CUDA: the kernel computes the draws, and computes them again in the backward pass.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;

use crate::autograd::{Backward, Tape, Value};
use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;
use crate::random::Stream;

/// As on the CPU, with the same draws: row n uses `columns` draws of `streams[n]`.
pub fn forward(tape: &mut Tape, x: &Value, p: f64, streams: &mut [Stream]) -> Result<Value> {
    let (_, columns) = x.tensor().dims2()?;
    let mut numbers = Vec::with_capacity(6 * streams.len());
    for stream in streams {
        numbers.extend(stream.address());
        stream.skip(columns as u32);
    }
    let streams = Engine::of(x.tensor())?.copy_to_device(&numbers)?;
    let dropout = Dropout { streams, p, scale: if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 } };
    let output = dropout.apply(x.tensor())?;
    Ok(tape.record(&[x], output, || dropout))
}

struct Dropout {
    /// For each row: its key, the fixed part of its counter, and the number of draws before.
    streams: CudaSlice<u32>,
    p: f64,
    scale: f32,
}

impl Dropout {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let engine = Engine::of(x)?;
        let (_, columns) = x.dims2()?;
        let (out, to) = engine.tensor(x.dtype(), x.shape())?;
        let (count, streams) = (x.elem_count(), engine.address(&self.streams));
        let arguments =
            arguments![count as i64, columns as i32, address(x)?, streams, self.p, self.scale, to];
        engine.numbers(&kernel("dropout", x.dtype())?, count, arguments)?;
        Ok(out)
    }
}

impl Backward for Dropout {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.apply(&grad)?)])
    }
}
