//! Binary cross-entropy per class, for images with several labels or none.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::class_loss::SavedGradient;
use super::deferred::Deferred;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};

/// The loss of logits [N, K] against targets [N, K] in [0, 1]: the mean over N·K as a scalar, and the mean of
/// each row over K.
///
/// Positive targets of class k are weighted by `positive_weights[k]`, as with PyTorch's `pos_weight`. Computed
/// in f64 from |logit|, so that no logit overflows. A loss that is not finite is returned unchanged.
pub fn binary_cross_entropy(
    tape: &mut Tape,
    logits: &Value,
    targets: &[f32],
    positive_weights: Option<&[f64]>,
) -> Result<(Value, Deferred<f64>)> {
    let (rows, classes) = logits.tensor().dims2()?;
    if rows * classes == 0 || targets.len() != rows * classes {
        let targets = targets.len();
        return Err(Error::bug(format!("{targets} targets for {rows} rows of {classes} logits")));
    }
    on_cuda!(logits.tensor(), cuda::forward(tape, logits, targets, positive_weights));
    by_dtype!(logits.tensor(), T => {
        let (mean, losses) = forward::<T>(tape, logits, targets, positive_weights)?;
        Ok((mean, Deferred::ready(losses)))
    })
}

fn forward<T: Float>(
    tape: &mut Tape,
    logits: &Value,
    targets: &[f32],
    positive_weights: Option<&[f64]>,
) -> Result<(Value, Vec<f64>)> {
    let (rows, classes) = logits.tensor().dims2()?;
    let part = 1.0 / (rows * classes) as f64;
    let width = if logits.is_constant() { 0 } else { classes };
    let (losses, gradient): (Vec<f64>, Vec<Vec<T>>) = with_slice(logits.tensor(), |logits: &[T]| {
        let rows = logits.par_chunks(classes).zip(targets.par_chunks(classes));
        let both = rows.map(|(row, targets)| {
            let (mut sum, mut gradient) = (0.0, Vec::with_capacity(width));
            for (class, (logit, target)) in row.iter().zip(targets).enumerate() {
                let weight = positive_weights.map_or(1.0, |weights| weights[class]);
                let (loss, slope) = element(logit.widen(), f64::from(*target), weight);
                sum += loss;
                if width > 0 {
                    gradient.push(T::from_f64(slope * part));
                }
            }
            (sum / classes as f64, gradient)
        });
        both.unzip()
    })?;
    let mean = Tensor::new(T::from_f64(losses.iter().sum::<f64>() / rows as f64), &Device::Cpu)?;
    let gradient = tensor(gradient.concat(), (if width == 0 { 0 } else { rows }, classes))?;
    Ok((tape.record(&[logits], mean, || SavedGradient { gradient }), losses))
}

/// weight · target · log(1 + e^−x) + (1 − target) · log(1 + e^x), and its slope.
fn element(x: f64, target: f64, weight: f64) -> (f64, f64) {
    let exponential = libm::exp(-x.abs());
    let rest = libm::log1p(exponential);
    let (if_true, if_false) = ((-x).max(0.0) + rest, x.max(0.0) + rest);
    let (small, large) = (exponential / (1.0 + exponential), 1.0 / (1.0 + exponential));
    let (probability, complement) = if x >= 0.0 { (large, small) } else { (small, large) };
    let loss = weight * target * if_true + (1.0 - target) * if_false;
    (loss, (1.0 - target) * probability - weight * target * complement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Fixture, check_gradients, normal, numbers};

    #[test]
    fn gradients_agree_with_finite_differences() {
        let targets = [1.0, 0.0, 0.25, 1.0, 0.0, 0.0];
        for weights in [None, Some(&[0.5, 3.0, 1.0][..])] {
            check_gradients(&[normal("logits", &[2, 3])], |tape, inputs| {
                Ok(binary_cross_entropy(tape, &inputs[0], &targets, weights)?.0)
            });
        }
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("losses");
        let sets: Vec<f32> = numbers(&fixture.get("sets")).iter().map(|x| *x as f32).collect();
        let weights = numbers(&fixture.get("positive_weights"));
        for (name, weights) in [("bce", None), ("bce_weighted", Some(&weights[..]))] {
            fixture.assert_gradients(name, &["logits"], |tape, inputs| {
                Ok(binary_cross_entropy(tape, &inputs[0], &sets, weights)?.0)
            });
        }
    }

    #[test]
    fn large_logits_cost_what_they_are() {
        let logits = Value::constant(Tensor::new(&[[1e30f32, -1e30], [-1e30, 1e30]], &Device::Cpu).unwrap());
        let targets = [1.0, 0.0, 0.0, 0.0];
        let (_, losses) = binary_cross_entropy(&mut Tape::new(), &logits, &targets, None).unwrap();
        let losses = losses.wait().unwrap();
        assert_eq!(losses[0], 0.0);
        assert!((losses[1] / 0.5e30 - 1.0).abs() < 1e-6);
        let (_, losses) =
            binary_cross_entropy(&mut Tape::new(), &logits, &[0.0, 1.0, 1.0, 0.0], None).unwrap();
        assert!(losses.wait().unwrap().iter().all(|loss| (loss / 1e30 - 1.0).abs() < 1e-6));
        assert!(binary_cross_entropy(&mut Tape::new(), &logits, &[1.0], None).is_err());
    }
}
