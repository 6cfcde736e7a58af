//! Cross-entropy on CUDA.

use crate::autograd::{Tape, Value};
use crate::cuda::{address, arguments, kernel};
use crate::error::Result;
use crate::ops::class_loss::cuda::by_rows;
use crate::ops::deferred::Deferred;

/// As [`super::cross_entropy`], for labels of a matching length.
pub fn forward(
    tape: &mut Tape,
    logits: &Value,
    labels: &[u32],
    smoothing: f64,
) -> Result<(Value, Deferred<f64>)> {
    let tensor = logits.tensor();
    let (rows, classes) = tensor.dims2()?;
    let share = 1.0 / rows as f64;
    let (mean, losses) = by_rows(tape, logits, share, |engine, [losses, gradient]| {
        let labels = engine.copy_to_device(labels)?;
        let labels = engine.address(&labels);
        let arguments =
            arguments![classes as i32, address(tensor)?, labels, smoothing, share, losses, gradient];
        engine.rows(&kernel("cross_entropy", tensor.dtype())?, rows, arguments)
    })?;
    Ok((mean, losses.deferred()?))
}
