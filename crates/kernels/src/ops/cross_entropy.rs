//! Softmax cross-entropy with label smoothing.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::class_loss::cuda::LossKernel;
use super::class_loss::{ClassLoss, SavedGradient};
use super::deferred::Deferred;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use super::softmax::LogitRow;
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};

/// The loss of logits [N, K] against one label per row: the mean over the rows as a scalar, and each row's loss.
///
/// A share `label_smoothing` of each target is spread evenly over all classes including the correct one, as in
/// PyTorch (Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016, §7). Computed in f64 for every
/// type of logits. A loss that is not finite is returned unchanged.
pub fn cross_entropy(
    tape: &mut Tape,
    logits: &Value,
    labels: &[u32],
    label_smoothing: f64,
) -> Result<(Value, Deferred<f64>)> {
    let (rows, classes) = logits.tensor().dims2()?;
    if rows == 0 || rows != labels.len() || labels.iter().any(|label| *label as usize >= classes) {
        let labels = labels.len();
        return Err(Error::bug(format!("{labels} labels for {rows} rows of {classes} logits")));
    }
    on_cuda!(logits.tensor(), cuda::forward(tape, logits, labels, label_smoothing));
    by_dtype!(logits.tensor(), T => {
        let (mean, losses) = forward::<T>(tape, logits, labels, label_smoothing)?;
        Ok((mean, Deferred::ready(losses)))
    })
}

fn forward<T: Float>(
    tape: &mut Tape,
    logits: &Value,
    labels: &[u32],
    smoothing: f64,
) -> Result<(Value, Vec<f64>)> {
    let (rows, classes) = logits.tensor().dims2()?;
    let share = 1.0 / rows as f64;
    // Only the gradient is saved for the backward pass. Computing it costs almost nothing compared with the loss.
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
    Ok((tape.record(&[logits], mean, || SavedGradient { gradient }), losses))
}

/// One row's loss: log Σ exp(logits) minus the average of the logits under the smoothed target.
fn loss<T: Float>(logits: &[T], label: usize, smoothing: f64) -> (f64, LogitRow) {
    let row = LogitRow::new(logits);
    let log_sum = libm::log(row.sum);
    // Relative to the maximum, to avoid overflow and loss of precision.
    let surprise = |logit: &T| log_sum - (logit.widen() - row.maximum);
    let mut loss = (1.0 - smoothing) * surprise(&logits[label]);
    if smoothing > 0.0 {
        loss += smoothing * (logits.iter().map(surprise).sum::<f64>() / logits.len() as f64);
    }
    (loss, row)
}

/// The loss of single rows, with mixed targets and class weights: as PyTorch's `weight`, which weights each
/// class of the smoothed target, and averages by the weights of the targets.
pub struct CrossEntropy<'a> {
    pub label_smoothing: f64,
    /// One per class; 1 for all if empty.
    pub class_weights: Option<&'a [f64]>,
}

impl ClassLoss for CrossEntropy<'_> {
    fn weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| weights[class])
    }

    fn loss(&self, logits: &[f64], class: usize, share: f64, gradient: &mut [f64]) -> f64 {
        let row = LogitRow::new(logits);
        let log_sum = libm::log(row.sum);
        let spread = self.label_smoothing / logits.len() as f64;
        // The weight of each class in the loss: its share of the smoothed target times its class weight.
        let counts: Vec<f64> = (0..logits.len())
            .map(|other| {
                let right = if other == class { 1.0 - self.label_smoothing } else { 0.0 };
                (right + spread) * self.weight(other)
            })
            .collect();
        let total: f64 = counts.iter().sum();
        for ((gradient, exponential), count) in gradient.iter_mut().zip(&row.exponentials).zip(&counts) {
            *gradient += share * (total * (exponential / row.sum) - count);
        }
        let counted = counts.iter().zip(logits).filter(|(count, _)| **count > 0.0);
        counted.map(|(count, logit)| count * (log_sum - (logit - row.maximum))).sum()
    }

    #[cfg(feature = "cuda")]
    fn kernel(&self) -> LossKernel<'_> {
        let (settings, class_weights) = ([self.label_smoothing, 0.0, 0.0], self.class_weights);
        LossKernel { name: "weighted_cross_entropy", settings, class_weights }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::class_loss::{Mixture, class_loss};
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
                let losses = Tensor::new(losses.wait().unwrap(), &Device::Cpu).unwrap();
                fixture.assert(&format!("{name}.samples"), &losses);
            }
        }
    }

    #[test]
    fn weights_and_mixtures_have_their_gradients_and_pytorch_agrees() {
        let weights = [0.5, 2.0, 1.25, 0.0];
        let mixture = |classes, share| Mixture { classes, share };
        let targets = [mixture([2, 0], 0.3), Mixture::single(1), mixture([3, 3], 0.6)];
        for (label_smoothing, class_weights) in [(0.0, None), (0.2, None), (0.2, Some(&weights[..]))] {
            let loss = CrossEntropy { label_smoothing, class_weights };
            check_gradients(&[normal("logits", &[3, 4])], |tape, inputs| {
                Ok(class_loss(tape, &inputs[0], &targets, &loss)?.mean)
            });
        }
        let fixture = Fixture::open("losses");
        let labels = numbers(&fixture.get("labels"));
        let targets: Vec<Mixture> = labels.iter().map(|label| Mixture::single(*label as u32)).collect();
        let weights = numbers(&fixture.get("class_weights"));
        let loss = CrossEntropy { label_smoothing: 0.1, class_weights: Some(&weights) };
        fixture.assert_gradients("weighted", &["logits"], |tape, inputs| {
            Ok(class_loss(tape, &inputs[0], &targets, &loss)?.mean)
        });
    }

    /// The two implementations of the same loss must agree.
    #[test]
    fn a_plain_target_is_a_mixture_of_one() {
        let mut tape = Tape::new();
        let logits = tape.leaf(normal("logits", &[3, 4]));
        let (labels, loss) = ([2, 0, 3], CrossEntropy { label_smoothing: 0.1, class_weights: None });
        let (plain, rows) = cross_entropy(&mut tape, &logits, &labels, 0.1).unwrap();
        let mixed = class_loss(&mut tape, &logits, &labels.map(Mixture::single), &loss).unwrap();
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-14);
        let rows = [rows, mixed.rows].map(|rows| rows.wait().unwrap());
        assert!(close(&rows[0], &rows[1]) && close(&numbers(plain.tensor()), &numbers(mixed.mean.tensor())));
    }

    #[test]
    fn extremes_are_finite_where_mathematics_says_so_and_honest_where_not() {
        let run = |logits: [f32; 3], label| {
            let logits = Value::constant(Tensor::new(&[logits], &Device::Cpu).unwrap());
            cross_entropy(&mut Tape::new(), &logits, &[label], 0.0).unwrap().1.wait().unwrap()[0]
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
