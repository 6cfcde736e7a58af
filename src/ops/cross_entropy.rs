//! Softmax cross-entropy with label smoothing.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use super::softmax::Row;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// The loss of logits [N, K] against one label for each row: its mean over the rows as a scalar, and each row's.
///
/// A share `label_smoothing` of each target is spread evenly over all classes, the right one included, as in PyTorch
/// (Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016, §7). Computed in f64 whatever the logits are.
/// A loss that is not finite is returned as it is.
pub fn cross_entropy(
    tape: &mut Tape,
    logits: &Value,
    labels: &[u32],
    label_smoothing: f64,
) -> Result<(Value, Vec<f64>)> {
    let (rows, classes) = logits.tensor().dims2()?;
    if rows == 0 || rows != labels.len() || labels.iter().any(|label| *label as usize >= classes) {
        let labels = labels.len();
        return Err(Error::failed(format!("internal: {labels} labels for {rows} rows of {classes} logits")));
    }
    on_cuda!(logits.tensor(), cuda::forward(tape, logits, labels, label_smoothing));
    by_dtype!(logits.tensor(), T => forward::<T>(tape, logits, labels, label_smoothing))
}

fn forward<T: Float>(
    tape: &mut Tape,
    logits: &Value,
    labels: &[u32],
    smoothing: f64,
) -> Result<(Value, Vec<f64>)> {
    let (rows, classes) = logits.tensor().dims2()?;
    let share = 1.0 / rows as f64;
    // The gradient is all that the backward pass needs, and costs next to nothing beside the loss.
    let mut gradient = vec![T::ZERO; if logits.is_constant() { 0 } else { rows * classes }];
    let losses = with_slice(logits.tensor(), |logits: &[T]| -> Vec<f64> {
        let row = |index: usize| &logits[index * classes..(index + 1) * classes];
        if gradient.is_empty() {
            let loss = |(index, label): (usize, &u32)| loss(row(index), *label as usize, smoothing).0;
            return labels.par_iter().enumerate().map(loss).collect();
        }
        let rows = labels.par_iter().zip(gradient.par_chunks_mut(classes)).enumerate();
        let both = rows.map(|(index, (label, gradient))| {
            let (loss, exponentials) = loss(row(index), *label as usize, smoothing);
            for (class, (gradient, exponential)) in
                gradient.iter_mut().zip(&exponentials.exponentials).enumerate()
            {
                let right = if class == *label as usize { 1.0 - smoothing } else { 0.0 };
                let target = right + smoothing / classes as f64;
                *gradient = T::from_f64((exponential / exponentials.sum - target) * share);
            }
            loss
        });
        both.collect()
    })?;
    let mean = T::from_f64(losses.iter().sum::<f64>() * share);
    let mean = Tensor::new(mean, &Device::Cpu)?;
    let gradient = tensor(gradient, if logits.is_constant() { (0, classes) } else { (rows, classes) })?;
    Ok((tape.record(&[logits], mean, || CrossEntropy { gradient }), losses))
}

/// One row's loss: log Σ exp(logits) less the logits averaged with the weights of the smoothed target.
fn loss<T: Float>(logits: &[T], label: usize, smoothing: f64) -> (f64, Row) {
    let row = Row::new(logits);
    let log_sum = libm::log(row.sum);
    // Relative to the maximum, so that nothing is lost to its size.
    let surprise = |logit: &T| log_sum - (logit.widen() - row.maximum);
    let mut loss = (1.0 - smoothing) * surprise(&logits[label]);
    if smoothing > 0.0 {
        loss += smoothing * (logits.iter().map(surprise).sum::<f64>() / logits.len() as f64);
    }
    (loss, row)
}

struct CrossEntropy {
    gradient: Tensor,
}

impl Backward for CrossEntropy {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.gradient.broadcast_mul(&grad)?)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{Fixture, check_gradients, gradients, normal, numbers};

    #[test]
    fn gradients_agree_with_finite_differences() {
        for smoothing in [0.0, 0.2] {
            check_gradients(&[normal("logits", &[3, 4])], |tape, inputs| {
                Ok(cross_entropy(tape, &inputs[0], &[2, 0, 3], smoothing)?.0)
            });
        }
    }

    #[test]
    fn pytorch_agrees_also_on_huge_logits() {
        let fixture = Fixture::open("cross_entropy");
        let labels: Vec<u32> = numbers(&fixture.get("labels")).iter().map(|label| *label as u32).collect();
        for dtype in [DType::F32, DType::F64] {
            let logits = fixture.input("logits", dtype);
            for (smoothing, name) in [(0.0, "0.0"), (0.1, "0.1"), (1.0, "1.0")] {
                let one = Tensor::ones((), dtype, &Device::Cpu).unwrap();
                let (mean, grads) = gradients(std::slice::from_ref(&logits), &one, |tape, inputs| {
                    Ok(cross_entropy(tape, &inputs[0], &labels, smoothing)?.0)
                });
                fixture.assert(&format!("{name}.y"), &mean);
                fixture.assert(&format!("{name}.logits"), &grads[0]);
                let constant = Value::constant(logits.clone());
                let (_, losses) = cross_entropy(&mut Tape::new(), &constant, &labels, smoothing).unwrap();
                fixture.assert(&format!("{name}.samples"), &Tensor::new(losses, &Device::Cpu).unwrap());
            }
        }
    }

    #[test]
    fn extremes_are_finite_where_mathematics_says_so_and_honest_where_not() {
        let run = |logits: [f32; 3], label| {
            let logits = Value::constant(Tensor::new(&[logits], &Device::Cpu).unwrap());
            cross_entropy(&mut Tape::new(), &logits, &[label], 0.0).unwrap().1[0]
        };
        assert_eq!(run([1e38, -1e38, 0.0], 0), 0.0);
        assert_eq!(run([f32::MAX, f32::MIN, 0.0], 1), 2.0 * f64::from(f32::MAX));
        assert_eq!(run([0.0, f32::NEG_INFINITY, f32::NEG_INFINITY], 0), 0.0);
        assert!(run([0.0, f32::NAN, 0.0], 0).is_nan());
        assert!(run([0.0, f32::INFINITY, 0.0], 0).is_nan());
    }

    #[test]
    fn labels_must_fit() {
        let logits = Value::constant(normal("logits", &[2, 3]));
        assert!(cross_entropy(&mut Tape::new(), &logits, &[0, 3], 0.0).is_err());
        assert!(cross_entropy(&mut Tape::new(), &logits, &[0], 0.0).is_err());
    }
}
