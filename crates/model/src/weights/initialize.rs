//! Random initialization: a pure function of the seed and each parameter's name.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::error::Result;
use crate::model::{Description, Init, StateDict, TensorRole, TensorSpec};
use crate::random::{Purpose, Stream, name_hash};

/// A new tensor. It depends neither on the order of calls nor on other tensors.
pub fn initialize(spec: &TensorSpec, seed: u64) -> Result<Tensor> {
    if spec.role == TensorRole::BatchCount {
        return Ok(Tensor::zeros(spec.shape.as_slice(), DType::I64, &Device::Cpu)?);
    }
    let mut stream = Stream::new(seed, Purpose::Initialize, 0, name_hash(&spec.name));
    let numbers: Vec<f32> = match spec.init {
        Init::Zeros => vec![0.0; spec.elements()],
        Init::Ones => vec![1.0; spec.elements()],
        Init::Constant { value } => vec![value as f32; spec.elements()],
        Init::Index => (0..spec.elements()).map(|place| place as f32).collect(),
        Init::RelativePositions { window } => {
            let rows = relative_positions(window);
            return Ok(Tensor::from_vec(rows, spec.shape.as_slice(), &Device::Cpu)?);
        }
        Init::Normal { std } => (0..spec.elements()).map(|_| (std * stream.normal()) as f32).collect(),
        Init::Uniform { bound } => {
            (0..spec.elements()).map(|_| (bound * (2.0 * stream.uniform_f64() - 1.0)) as f32).collect()
        }
    };
    Ok(Tensor::from_vec(numbers, spec.shape.as_slice(), &Device::Cpu)?)
}

/// The rows of distances, which are from `1 − window` to `window − 1` down and across, line by line.
fn relative_positions(window: usize) -> Vec<i64> {
    let (count, width) = (window * window, 2 * window - 1);
    let row = |query: usize, key: usize| {
        let down = query / window + window - 1 - key / window;
        let across = query % window + window - 1 - key % window;
        (down * width + across) as i64
    };
    (0..count * count).map(|pair| row(pair / count, pair % count)).collect()
}

/// A new tensor for each tensor of a description.
pub fn initialize_all(description: &Description, seed: u64) -> Result<StateDict> {
    let tensors = description.tensors.par_iter().map(|spec| initialize(spec, seed)).collect::<Result<_>>()?;
    Ok(StateDict { tensors })
}
