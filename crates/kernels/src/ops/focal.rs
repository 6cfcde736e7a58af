//! The focal loss: Lin et al., *Focal Loss for Dense Object Detection* (ICCV 2017), eq. 5, over a softmax.

use super::class_loss::ClassLoss;
#[cfg(feature = "cuda")]
use super::class_loss::cuda::LossKernel;
use super::softmax::LogitRow;

/// −weight · (1 − p)^gamma · log p for the probability p of the correct class: well-classified examples count
/// less. With `gamma` 0 it is cross-entropy.
///
/// The paper's α is the class weight. As in the paper, rows are averaged by weight, not by difficulty.
pub struct Focal<'a> {
    pub gamma: f64,
    /// One per class; 1 for all if empty.
    pub class_weights: Option<&'a [f64]>,
}

impl ClassLoss for Focal<'_> {
    fn weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| weights[class])
    }

    fn loss(&self, logits: &[f64], class: usize, share: f64, gradient: &mut [f64]) -> f64 {
        let row = LogitRow::new(logits);
        let surprise = libm::log(row.sum) - (logits[class] - row.maximum);
        let right = row.exponentials[class] / row.sum;
        // 1 − p as the sum of the other probabilities, without loss of precision if p is almost 1.
        let others = row.exponentials.iter().enumerate().filter(|(other, _)| *other != class);
        let wrong = others.map(|(_, exponential)| exponential).sum::<f64>() / row.sum;
        let (weight, focus) = (self.weight(class), libm::pow(wrong, self.gamma));
        // d loss / d log p; d log p / d logit is (1 for the correct class, else 0) − probability.
        let slope = match (self.gamma == 0.0, wrong > 0.0) {
            (true, _) => -1.0,
            (false, true) => -self.gamma * libm::pow(wrong, self.gamma - 1.0) * right * surprise - focus,
            (false, false) => 0.0,
        };
        let slope = share * weight * slope;
        for (other, (gradient, exponential)) in gradient.iter_mut().zip(&row.exponentials).enumerate() {
            *gradient += match other == class {
                true => slope * wrong,
                false => -slope * (exponential / row.sum),
            };
        }
        weight * focus * surprise
    }

    #[cfg(feature = "cuda")]
    fn kernel(&self) -> LossKernel<'_> {
        let (settings, class_weights) = ([self.gamma, 0.0, 0.0], self.class_weights);
        LossKernel { name: "focal", settings, class_weights }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::autograd::{Tape, Value};
    use crate::ops::class_loss::{Mixture, class_loss};
    use crate::ops::testing::{Fixture, check_gradients, gradients, normal, numbers};

    #[test]
    fn gradients_agree_with_finite_differences() {
        let targets = [Mixture { classes: [2, 0], share: 0.3 }, Mixture::single(1), Mixture::single(3)];
        for gamma in [0.0, 0.5, 2.0] {
            let loss = Focal { gamma, class_weights: Some(&[0.5, 2.0, 1.25, 1.0]) };
            check_gradients(&[normal("logits", &[3, 4])], |tape, inputs| {
                Ok(class_loss(tape, &inputs[0], &targets, &loss)?.mean)
            });
        }
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("losses");
        let targets: Vec<Mixture> =
            numbers(&fixture.get("labels")).iter().map(|label| Mixture::single(*label as u32)).collect();
        let weights = numbers(&fixture.get("class_weights"));
        for (name, gamma, class_weights) in
            [("focal", 2.0, None), ("focal_weighted", 1.5, Some(&weights[..]))]
        {
            fixture.assert_gradients(name, &["logits"], |tape, inputs| {
                Ok(class_loss(tape, &inputs[0], &targets, &Focal { gamma, class_weights })?.mean)
            });
        }
    }

    #[test]
    fn certainty_is_finite() {
        let one = Tensor::new(1f32, &Device::Cpu).unwrap();
        for logits in [[1e4f32, -1e4, 0.0], [-1e4, 1e4, 0.0]] {
            let logits = Tensor::new(&[logits], &Device::Cpu).unwrap();
            let (loss, grads) = gradients(&[logits], &one, |tape: &mut Tape, inputs: &[Value]| {
                let loss = Focal { gamma: 0.5, class_weights: None };
                Ok(class_loss(tape, &inputs[0], &[Mixture::single(0)], &loss)?.mean)
            });
            assert!(numbers(&loss).iter().chain(&numbers(&grads[0])).all(|x| x.is_finite()));
        }
    }
}
