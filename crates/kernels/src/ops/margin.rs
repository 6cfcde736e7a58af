//! Cross-entropy with a margin on the cosine of the correct class: ArcFace and CosFace.

use super::class_loss::ClassLoss;
#[cfg(feature = "cuda")]
use super::class_loss::cuda::LossKernel;
use super::softmax::LogitRow;

/// Smaller sin² are clamped to this: f32 cannot resolve cosines closer to 1 or −1.
const LEAST_SQUARED_SINE: f64 = 1e-7;

/// The margin applied to the score of the correct class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// Added to the angle, in radians: Deng et al., *ArcFace* (CVPR 2019), eq. 3. If angle plus margin exceeds
    /// π, the cosine continues linearly, as in the authors' code; `easy` leaves cosines below 0 unchanged.
    Angle { margin: f64, easy: bool },
    /// Subtracted from the cosine: Wang et al., *CosFace* (CVPR 2018), eq. 4.
    Cosine { margin: f64 },
}

/// Cross-entropy of scores that are cosines times `scale`, with a margin on the correct one.
///
/// Its gradient is finite everywhere: the term that divides by the sine is dropped if the sine is too small for f32.
pub struct MarginLoss<'a> {
    pub margin: Margin,
    pub scale: f64,
    /// One per class; 1 for all if empty.
    pub class_weights: Option<&'a [f64]>,
}

impl Margin {
    /// The cosine with its margin, and the derivative.
    fn apply(self, cosine: f64) -> (f64, f64) {
        match self {
            Self::Cosine { margin } => (cosine - margin, 1.0),
            Self::Angle { easy: true, .. } if cosine <= 0.0 => (cosine, 1.0),
            Self::Angle { margin, easy } => {
                let (sine_margin, cosine_margin) = (libm::sin(margin), libm::cos(margin));
                if !easy && cosine <= -cosine_margin {
                    return (cosine - sine_margin * margin, 1.0);
                }
                // (1 − c)(1 + c) keeps precision near 1, where 1 − c² would lose it.
                let squared = (1.0 - cosine) * (1.0 + cosine);
                let sine = squared.max(LEAST_SQUARED_SINE).sqrt();
                let turning = if squared > LEAST_SQUARED_SINE { cosine / sine } else { 0.0 };
                (cosine * cosine_margin - sine * sine_margin, cosine_margin + turning * sine_margin)
            }
        }
    }
}

impl ClassLoss for MarginLoss<'_> {
    fn weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| weights[class])
    }

    fn loss(&self, scores: &[f64], class: usize, share: f64, gradient: &mut [f64]) -> f64 {
        let (moved, slope) = self.margin.apply(scores[class] / self.scale);
        let mut scores = scores.to_vec();
        scores[class] = self.scale * moved;
        let (row, weight) = (LogitRow::new(&scores), self.weight(class));
        for (other, (gradient, exponential)) in gradient.iter_mut().zip(&row.exponentials).enumerate() {
            let probability = exponential / row.sum;
            let towards = if other == class { (probability - 1.0) * slope } else { probability };
            *gradient += share * weight * towards;
        }
        weight * (libm::log(row.sum) - (scores[class] - row.maximum))
    }

    #[cfg(feature = "cuda")]
    fn kernel(&self) -> LossKernel<'_> {
        let (margin, kind) = match self.margin {
            Margin::Cosine { margin } => (margin, 0.0),
            Margin::Angle { margin, easy: false } => (margin, 1.0),
            Margin::Angle { margin, easy: true } => (margin, 2.0),
        };
        LossKernel { name: "margin", settings: [margin, self.scale, kind], class_weights: self.class_weights }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::ops::class_loss::{Mixture, class_loss};
    use crate::ops::testing::{Fixture, check_gradients, gradients, normal, numbers};

    const ARC: Margin = Margin::Angle { margin: 0.5, easy: false };
    const EASY: Margin = Margin::Angle { margin: 0.3, easy: true };
    const COSINE: Margin = Margin::Cosine { margin: 0.35 };

    #[test]
    fn gradients_agree_with_finite_differences() {
        let scores = (normal("cosines", &[4, 3]).tanh().unwrap() * 8.0).unwrap();
        let targets = [
            Mixture::single(2),
            Mixture { classes: [0, 1], share: 0.7 },
            Mixture::single(1),
            Mixture::single(0),
        ];
        for margin in [ARC, EASY, COSINE] {
            let loss = MarginLoss { margin, scale: 8.0, class_weights: Some(&[0.5, 2.0, 1.25]) };
            check_gradients(std::slice::from_ref(&scores), |tape, inputs| {
                Ok(class_loss(tape, &inputs[0], &targets, &loss)?.mean)
            });
        }
    }

    #[test]
    fn the_papers_formulas_in_pytorch_agree() {
        let fixture = Fixture::open("losses");
        let targets: Vec<Mixture> =
            numbers(&fixture.get("labels")).iter().map(|label| Mixture::single(*label as u32)).collect();
        let weights = numbers(&fixture.get("class_weights"));
        let cases =
            [("arcface", ARC, None), ("arcface_easy", EASY, Some(&weights[..])), ("cosface", COSINE, None)];
        for (name, margin, class_weights) in cases {
            fixture.assert_gradients(name, &["scores"], |tape, inputs| {
                let loss = MarginLoss { margin, scale: 16.0, class_weights };
                Ok(class_loss(tape, &inputs[0], &targets, &loss)?.mean)
            });
        }
    }

    #[test]
    fn gradients_are_finite_at_and_beyond_the_ends() {
        let one = Tensor::new(1f32, &Device::Cpu).unwrap();
        for cosine in [1.0f32, -1.0, 1.000_000_1, -1.000_000_1, 0.999_999_94, 0.0] {
            let scores = Tensor::new(&[[64.0 * cosine, 3.0]], &Device::Cpu).unwrap();
            for margin in [ARC, EASY, COSINE] {
                let loss = MarginLoss { margin, scale: 64.0, class_weights: None };
                let (y, grads) = gradients(std::slice::from_ref(&scores), &one, |tape, inputs| {
                    Ok(class_loss(tape, &inputs[0], &[Mixture::single(0)], &loss)?.mean)
                });
                assert!(numbers(&y)[0].is_finite());
                assert!(
                    numbers(&grads[0]).iter().all(|gradient| gradient.abs() < 4e3),
                    "{cosine} {margin:?}"
                );
            }
        }
    }

    /// The margin never raises a score.
    #[test]
    fn the_score_of_the_right_class_falls_with_the_margin_and_rises_with_the_cosine() {
        for margin in [ARC, EASY, COSINE] {
            let places = (-100..=100).map(|place| f64::from(place) / 100.0);
            let moved: Vec<f64> = places.clone().map(|cosine| margin.apply(cosine).0).collect();
            assert!(moved.iter().zip(places).all(|(moved, cosine)| *moved <= cosine));
            assert!(margin == EASY || moved.windows(2).all(|pair| pair[0] < pair[1]), "{margin:?}");
        }
    }
}
