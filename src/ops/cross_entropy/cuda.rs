//! Cross-entropy on CUDA.

use candle_core::DType;

use crate::autograd::{Tape, Value};
use crate::cuda::{Engine, address, arguments, kernel};
use crate::error::Result;
use crate::ops::class_loss::ByGradient;

/// The mean loss, and each row's. Reading these is where a step waits for the GPU, once; the walk back and the update are
/// launched behind it, and the next batch is on its way before they are done.
pub fn forward(tape: &mut Tape, logits: &Value, labels: &[u32], smoothing: f64) -> Result<(Value, Vec<f64>)> {
    let tensor = logits.tensor();
    let (rows, classes) = tensor.dims2()?;
    let engine = Engine::of(tensor)?;
    let share = 1.0 / rows as f64;
    let (labels, losses) = (engine.copied(labels)?, engine.buffer::<f64>(rows)?);
    let (mean, to) = engine.tensor(DType::F32, ())?;
    let gradient =
        (!logits.is_constant()).then(|| engine.tensor(tensor.dtype(), (rows, classes))).transpose()?;
    let towards = gradient.as_ref().map_or(0, |(_, address)| *address);
    let [labels, each] = [engine.address(&labels), engine.address(&losses)];
    let name = kernel("cross_entropy", tensor.dtype())?;
    let arguments = arguments![classes as i32, address(tensor)?, labels, smoothing, share, each, towards];
    engine.rows(&name, rows, arguments)?;
    engine.rows("mean_loss", 1, arguments![rows as i32, each, share, to])?;
    let value = match gradient {
        Some((gradient, _)) => tape.record(&[logits], mean, || ByGradient { gradient }),
        None => Value::constant(mean),
    };
    Ok((value, engine.read(&losses)?))
}
