//! Distillation: Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network* (2015), §2.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::class_loss::SavedGradient;
use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use super::softmax::LogitRow;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// temperature² · KL(softmax(teacher / temperature) ‖ softmax(logits / temperature)) of logits [N, K], averaged
/// over the rows.
///
/// The square keeps the scale of the gradient independent of the temperature. The teacher gets no gradient.
/// Computed in f64.
pub fn distillation(tape: &mut Tape, logits: &Value, teacher: &Tensor, temperature: f64) -> Result<Value> {
    if logits.tensor().dims() != teacher.dims() {
        let shapes = (logits.tensor().dims(), teacher.dims());
        return Err(Error::bug(format!("a student's and a teacher's logits of {shapes:?}")));
    }
    on_cuda!(logits.tensor(), cuda::forward(tape, logits, teacher, temperature));
    by_dtype!(logits.tensor(), T => forward::<T>(tape, logits, teacher, temperature))
}

fn forward<T: Float>(tape: &mut Tape, logits: &Value, teacher: &Tensor, temperature: f64) -> Result<Value> {
    let (rows, classes) = logits.tensor().dims2()?;
    let share = 1.0 / rows.max(1) as f64;
    let width = if logits.is_constant() { 0 } else { classes };
    let (losses, gradient): (Vec<f64>, Vec<Vec<T>>) = with_slice(logits.tensor(), |student: &[T]| {
        with_slice(teacher, |teacher: &[T]| {
            let rows = student.par_chunks(classes.max(1)).zip(teacher.par_chunks(classes.max(1)));
            let both = rows.map(|(student, teacher)| {
                let cool = |row: &[T]| -> Vec<f64> { row.iter().map(|x| x.widen() / temperature).collect() };
                let (student, teacher) = (cool(student), cool(teacher));
                let (p, q) = (LogitRow::new(&teacher), LogitRow::new(&student));
                // log p − log q, relative to the maxima, to avoid loss of precision.
                let shift = libm::log(q.sum) - libm::log(p.sum);
                let divergence = |class: usize| {
                    let apart = (teacher[class] - p.maximum) - (student[class] - q.maximum) + shift;
                    let probability = p.exponentials[class] / p.sum;
                    if probability > 0.0 { probability * apart } else { 0.0 }
                };
                let loss = temperature * temperature * (0..classes).map(divergence).sum::<f64>();
                let slope = |class: usize| {
                    let apart = q.exponentials[class] / q.sum - p.exponentials[class] / p.sum;
                    T::from_f64(temperature * apart * share)
                };
                (loss, (0..width).map(slope).collect())
            });
            both.unzip()
        })
    })??;
    let mean = Tensor::new(T::from_f64(losses.iter().sum::<f64>() * share), &Device::Cpu)?;
    let gradient = tensor(gradient.concat(), (if width == 0 { 0 } else { rows }, classes))?;
    Ok(tape.record(&[logits], mean, || SavedGradient { gradient }))
}

/// The sum of two scalar losses, each times its share.
pub fn blend_losses(tape: &mut Tape, first: &Value, second: &Value, shares: [f64; 2]) -> Result<Value> {
    let parts = [scaled(first.tensor(), shares[0])?, scaled(second.tensor(), shares[1])?];
    let mean = sum(&parts)?;
    Ok(tape.record(&[first, second], mean, || BlendedLoss(shares)))
}

fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    on_cuda!(x, crate::cuda::scaled(x, factor));
    Ok(x.affine(factor, 0.0)?)
}

fn sum([first, second]: &[Tensor; 2]) -> Result<Tensor> {
    on_cuda!(first, crate::cuda::add(first, second));
    Ok((first + second)?)
}

struct BlendedLoss([f64; 2]);

impl Backward for BlendedLoss {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let part = |(share, wanted): (f64, &bool)| wanted.then(|| scaled(&grad, share)).transpose();
        self.0.into_iter().zip(wanted).map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Fixture, check_gradients, normal, numbers};

    #[test]
    fn gradients_agree_with_finite_differences() {
        let teacher = (normal("teacher", &[3, 4]) * 3.0).unwrap();
        check_gradients(&[normal("logits", &[3, 4])], |tape, inputs| {
            distillation(tape, &inputs[0], &teacher, 2.0)
        });
    }

    #[test]
    fn a_blend_has_a_share_of_each_gradient() {
        check_gradients(&[normal("one", &[]), normal("other", &[])], |tape, inputs| {
            blend_losses(tape, &inputs[0], &inputs[1], [0.7, 0.3])
        });
        // Both of the same scores, as in training.
        let teacher = normal("teacher", &[3, 4]);
        check_gradients(&[normal("logits", &[3, 4])], |tape, inputs| {
            let (labels, _) = crate::ops::cross_entropy(tape, &inputs[0], &[1, 3, 0], 0.0)?;
            let taught = distillation(tape, &inputs[0], &teacher, 3.0)?;
            blend_losses(tape, &labels, &taught, [0.3, 0.7])
        });
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("losses");
        for temperature in [1.0, 4.0] {
            fixture.assert_gradients(&format!("distill_{temperature}"), &["logits"], |tape, inputs| {
                let teacher = fixture.input("teacher", inputs[0].tensor().dtype());
                distillation(tape, &inputs[0], &teacher, temperature)
            });
        }
    }

    #[test]
    fn a_student_like_its_teacher_has_nothing_to_learn() {
        let logits = (normal("logits", &[3, 4]) * 1e4).unwrap();
        let loss = distillation(&mut Tape::new(), &Value::constant(logits.clone()), &logits, 1.0).unwrap();
        assert!(numbers(loss.tensor())[0].abs() < 1e-12);
        assert!(
            distillation(&mut Tape::new(), &Value::constant(logits), &normal("t", &[3, 5]), 1.0).is_err()
        );
    }
}
