//! Distillation on CUDA.

use candle_core::{DType, Tensor};

use crate::autograd::{Tape, Value};
use crate::cuda::{address, arguments, as_type, kernel};
use crate::error::Result;
use crate::ops::class_loss::cuda::by_rows;

/// As [`super::distillation`], for a teacher of the same shape on the same device.
pub fn forward(tape: &mut Tape, logits: &Value, teacher: &Tensor, temperature: f64) -> Result<Value> {
    let tensor = logits.tensor();
    let (rows, classes) = tensor.dims2()?;
    let teacher = as_type(teacher, DType::F32)?;
    let share = 1.0 / rows.max(1) as f64;
    let (mean, _) = by_rows(tape, logits, share, |engine, [losses, gradient]| {
        let (student, teacher) = (address(tensor)?, address(&teacher)?);
        let arguments = arguments![classes as i32, student, teacher, temperature, share, losses, gradient];
        engine.rows(&kernel("distillation", tensor.dtype())?, rows, arguments)
    })?;
    Ok(mean)
}
