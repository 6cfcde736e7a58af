//! Losses of scores on a GPU: one kernel computes each row's loss and gradient, another the mean.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Tensor};

use super::{ClassLoss, Mixture, SavedGradient};
use crate::autograd::{Tape, Value};
use crate::cuda::{Address, Engine, address, argument, arguments, kernel};
use crate::error::Result;
use crate::ops::deferred::Deferred;

/// The parameters of a class loss on a GPU.
pub struct LossKernel<'a> {
    pub name: &'static str,
    /// In the layout of the struct in kernels/losses.cuh.
    pub settings: [f64; 3],
    pub class_weights: Option<&'a [f64]>,
}
argument!([f64; 3] => "Settings");

/// Each row's loss, on the device.
pub struct RowLosses {
    engine: Arc<Engine>,
    losses: CudaSlice<f64>,
    rows: usize,
}

impl RowLosses {
    /// Starts copying them to the host.
    pub fn deferred(self) -> Result<Deferred<f64>> {
        Ok(Deferred::from_readback(self.engine.read_back(self.engine.address(&self.losses), self.rows)?))
    }
}

/// `part` times the sum of the row losses that `launch` writes, and the row losses. `launch` gets an address for
/// the losses [N] in f64, and one for the gradient of scores [N, K] in their type, 0 if no gradient is needed.
pub fn by_rows(
    tape: &mut Tape,
    scores: &Value,
    part: f64,
    launch: impl FnOnce(&Engine, [Address; 2]) -> Result<()>,
) -> Result<(Value, RowLosses)> {
    let tensor = scores.tensor();
    let (rows, classes) = tensor.dims2()?;
    let engine = Engine::of(tensor)?;
    let losses = engine.buffer::<f64>(rows)?;
    let (mean, to) = engine.tensor(DType::F32, ())?;
    let gradient =
        (!scores.is_constant()).then(|| engine.tensor(tensor.dtype(), (rows, classes))).transpose()?;
    let towards = gradient.as_ref().map_or(Address::NONE, |(_, address)| *address);
    let each = engine.address(&losses);
    launch(&engine, [each, towards])?;
    engine.rows("mean_loss", 1, arguments![rows as i32, each, part, to])?;
    let value = match gradient {
        Some((gradient, _)) => tape.record(&[scores], mean, || SavedGradient { gradient }),
        None => Value::constant(mean),
    };
    Ok((value, RowLosses { engine, losses, rows }))
}

/// As [`super::class_loss`], for targets of a matching shape; `part` is the weight of a row in the mean.
pub(super) fn against_mixtures(
    tape: &mut Tape,
    scores: &Value,
    targets: &[Mixture],
    loss: &dyn ClassLoss,
    part: f64,
) -> Result<(Value, RowLosses)> {
    let LossKernel { name, settings, class_weights } = loss.kernel();
    let (tensor, (_, classes)) = (scores.tensor(), scores.tensor().dims2()?);
    let pairs: Vec<u32> = targets.iter().flat_map(|target| target.classes).collect();
    let shares: Vec<f64> = targets.iter().map(|target| target.share).collect();
    by_rows(tape, scores, part, |engine, [losses, gradient]| {
        let (pairs, shares) = (engine.copy_to_device(&pairs)?, engine.copy_to_device(&shares)?);
        let weights = class_weights.map(|weights| engine.copy_to_device(weights)).transpose()?;
        let [pairs, shares] = [engine.address(&pairs), engine.address(&shares)];
        let weights = weights.as_ref().map_or(Address::NONE, |weights| engine.address(weights));
        let arguments = arguments![
            classes as i32,
            address(tensor)?,
            pairs,
            shares,
            weights,
            settings,
            part,
            losses,
            gradient,
        ];
        engine.rows(&kernel(name, tensor.dtype())?, targets.len(), arguments)
    })
}

/// `gradient` times the scalar `grad`.
pub(super) fn scaled(gradient: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let engine = Engine::of(grad)?;
    let (out, to) = engine.tensor(gradient.dtype(), gradient.shape())?;
    let count = out.elem_count();
    let arguments = arguments![count as i64, address(gradient)?, address(grad)?, to];
    engine.numbers(&kernel("scale", out.dtype())?, count, arguments)?;
    Ok(out)
}
