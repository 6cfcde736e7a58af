//! Binary cross-entropy on CUDA.

use crate::autograd::{Tape, Value};
use crate::cuda::{Address, address, arguments, kernel};
use crate::error::Result;
use crate::ops::class_loss::cuda::by_rows;
use crate::ops::deferred::Deferred;

/// As [`super::binary_cross_entropy`], for targets of a matching shape.
pub fn forward(
    tape: &mut Tape,
    logits: &Value,
    targets: &[f32],
    positive_weights: Option<&[f64]>,
) -> Result<(Value, Deferred<f64>)> {
    let tensor = logits.tensor();
    let (rows, classes) = tensor.dims2()?;
    let part = 1.0 / (rows * classes) as f64;
    let (mean, losses) = by_rows(tape, logits, 1.0 / rows as f64, |engine, [losses, gradient]| {
        let targets = engine.copy_to_device(targets)?;
        let weights = positive_weights.map(|weights| engine.copy_to_device(weights)).transpose()?;
        let weights = weights.as_ref().map_or(Address::NONE, |weights| engine.address(weights));
        let targets = engine.address(&targets);
        let arguments =
            arguments![classes as i32, address(tensor)?, targets, weights, part, losses, gradient];
        engine.rows(&kernel("binary_cross_entropy", tensor.dtype())?, rows, arguments)
    })?;
    Ok((mean, losses.deferred()?))
}
